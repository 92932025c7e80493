// A little colour for every language of the page. Nothing depends on it: a token that is read wrongly is a colour off.

const WORDS = (text) => `(?<![\\w.$%@])(?:${text.trim().split(/\s+/).join("|")})(?![\\w])`;

const LANGUAGES = {
  cnn: [
    ["comment", "#.*"],
    ["string", '"[^"]*"'],
    ["keyword", WORDS("network block input output use repeat if else in true false and or not assert")],
    ["shape", "\\[[^\\]]*\\]"],
    ["function", "\\b[A-Za-z_]\\w*(?=\\()"],
    ["number", "\\b\\d[\\d.x]*\\b"],
    ["operator", "->|[@:=]"],
  ],
  python: [
    ["comment", "#.*"],
    ["string", '"""|"(?:[^"\\\\]|\\\\.)*"|\'(?:[^\'\\\\]|\\\\.)*\''],
    ["keyword", WORDS(`def return if elif else for in while import from as and or not is None True False lambda pass
      assert with break continue`)],
    ["meta", "@[\\w.]+"],
    ["builtin", "\\btl\\.[\\w.]+"],
    ["function", "\\b[A-Za-z_]\\w*(?=\\()"],
    ["constant", "\\b[A-Z][A-Z0-9_]+\\b"],
    ["number", "\\b(?:0x[\\da-f]+|\\d[\\d_.]*(?:e[+-]?\\d+)?)\\b"],
  ],
  mlir: [
    ["comment", "//.*"],
    ["string", '"[^"]*"'],
    ["value", "%[\\w$.#:-]+"],
    ["meta", "#\\w+|loc\\([^)]*\\)*"],
    ["function", "@[\\w$.]+"],
    ["keyword", "\\b(?:tt|ttg|ttng|arith|scf|cf|math|nvgpu|amdg|amdgpu|gpu|llvm|ub|rocdl|nvvm)\\.[\\w.]+"],
    ["type", "!?\\b(?:tensor|memdesc|ptr|index|i\\d+|f\\d+|bf16)\\b"],
    ["number", "(?<![\\w%])-?\\d[\\d.]*(?:e[+-]?\\d+)?"],
  ],
  llvm: [
    ["comment", ";.*"],
    ["string", '"[^"]*"'],
    ["value", "%[\\w$.-]+"],
    ["meta", "![\\w.]+|#\\d+"],
    ["function", "@[\\w$.]+"],
    ["keyword", WORDS(`add sub mul fadd fmul fsub fma and or xor shl lshr ashr icmp fcmp select br phi load store call ret
      getelementptr extractvalue insertvalue extractelement insertelement bitcast zext sext trunc sitofp fptrunc fpext
      asm sideeffect define declare tail srem sdiv urem udiv ptrtoint inttoptr addrspacecast freeze`)],
    ["type", "\\b(?:i\\d+|half|float|double|bfloat|ptr|void|label)\\b"],
    ["number", "(?<![\\w%])-?\\d[\\d.]*(?:e[+-]?\\d+)?"],
  ],
  ptx: [
    ["comment", "//.*"],
    ["string", '"[^"]*"'],
    ["value", "%[\\w.]+"],
    ["meta", "^\\s*\\.[\\w.]+|@!?%\\w+"],
    ["label", "\\$?\\w+:$"],
    ["keyword", "(?<=^\\s*(?:@!?%\\w+\\s+)?)[a-z][\\w.:]*"],
    ["number", "(?<![\\w%])-?(?:0[xfd][\\da-f]+|\\d[\\d.]*)"],
  ],
  sass: [
    ["comment", "//.*"],
    ["label", "^\\.?[\\w.$]+:"],
    ["dim", "^\\s+[0-9a-f]{4,}(?=\\s)"],
    ["meta", "@!?U?P\\w+"],
    ["keyword", "(?<=^\\s+[0-9a-f]{4,}\\s+(?:@!?U?P\\w+\\s+)?)[A-Z][A-Z0-9_.]*"],
    ["value", "\\bU?[RPB]\\d+[\\w.]*|\\b(?:U?RZ|U?PT)\\b"],
    ["constant", "\\bc\\[[^\\]]*\\]\\[[^\\]]*\\]|\\bSR_[\\w.]+"],
    ["number", "(?<![\\w])-?(?:0x[\\da-f]+|\\d[\\d.]*)\\b"],
  ],
  amdgcn: [
    ["comment", "[;/]/?.*"],
    ["string", '"[^"]*"'],
    ["label", "^[.\\w$]+:"],
    ["meta", "^\\s*\\.[\\w.]+"],
    ["keyword", "(?<=^\\s*)[a-z][\\w.]*"],
    ["value", "\\b[vsa](?:\\d+|\\[[^\\]]*\\])|\\b(?:vcc|exec|scc|m0|off)\\w*"],
    ["number", "(?<![\\w])-?(?:0x[\\da-f]+|\\d[\\d.]*)\\b"],
  ],
};

const compiled = new Map();

function grammar(language) {
  if (!compiled.has(language)) {
    const rules = LANGUAGES[language];
    const pattern = rules.map(([, each], i) => `(?<k${i}>${each})`).join("|");
    compiled.set(language, { rules, pattern: new RegExp(pattern, language === "sass" ? "g" : "gi") });
  }
  return compiled.get(language);
}

const MAX_COLOURED = 2000; // characters; a line of a megabyte is shown without colours

/** A line as text nodes and spans. */
function coloured(line, language) {
  if (!(language in LANGUAGES) || line.length > MAX_COLOURED) return [line];
  const { rules, pattern } = grammar(language);
  const parts = [];
  let end = 0;
  for (const match of line.matchAll(pattern)) {
    if (match[0] === "") continue;
    if (match.index > end) parts.push(line.slice(end, match.index));
    const kind = rules[rules.findIndex((_, i) => match.groups[`k${i}`] !== undefined)][0];
    parts.push(h("span", { class: `t-${kind}` }, match[0]));
    end = match.index + match[0].length;
  }
  if (end < line.length) parts.push(line.slice(end));
  return parts;
}
