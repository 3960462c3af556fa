// Analyzes KQL texts with Microsoft's parser against a closed schema: what is not declared is an error.
//
// stdin   {"schema": {table: {column: type}}, "functions": {name: body}, "texts": {name: kql}}
// stdout  {name: {"diagnostics": [{severity, code, line, column, text, message}], "columns": {name: type}}}
"use strict";

const fs = require("node:fs");

function loadLanguage() {
  require("@kusto/language-service-next/bridge.min.js");
  require("@kusto/language-service-next/Kusto.Language.Bridge.min.js");
  return globalThis.Kusto.Language;
}

// The parser's own constructors are overloads, told apart by number: $ctor4 and $ctor16 below.

function tableSymbol(language, name, columns) {
  const { ColumnSymbol, ScalarTypes, TableSymbol } = language.Symbols;
  const symbols = Object.entries(columns).map(([column, typeName]) => {
    const type = ScalarTypes.GetSymbol(typeName);
    if (!type) throw new Error(`schema: ${name}.${column}: "${typeName}" is not a KQL type`);
    return new ColumnSymbol(column, type);
  });
  return new TableSymbol.$ctor4(name, symbols);
}

function functionSymbol(language, name, body) {
  return new language.Symbols.FunctionSymbol.$ctor16(name, "()", `{\n${body}\n}`, null);
}

function workspace(language, schema, functions) {
  const tables = Object.entries(schema).map(([name, columns]) => tableSymbol(language, name, columns));
  const stored = Object.entries(functions).map(([name, body]) => functionSymbol(language, name, body));
  const database = new language.Symbols.DatabaseSymbol.ctor("workspace", [...tables, ...stored]);
  return language.GlobalState.Default.WithDatabase(database);
}

function toArray(list) {
  return Array.from({ length: list.Count }, (_, index) => list.getItem(index));
}

function describe(diagnostic, text) {
  const before = text.slice(0, diagnostic.Start).split("\n");
  return {
    severity: diagnostic.Severity,
    code: diagnostic.Code,
    line: before.length,
    column: before.at(-1).length + 1,
    text: text.slice(diagnostic.Start, diagnostic.Start + diagnostic.Length),
    message: diagnostic.Message,
  };
}

function analyze(language, globals, text) {
  const code = language.KustoCode.ParseAndAnalyze(text, globals);
  const columns = code.ResultType && code.ResultType.Columns;
  return {
    diagnostics: toArray(code.GetDiagnostics()).map((diagnostic) => describe(diagnostic, text)),
    columns: Object.fromEntries(columns ? toArray(columns).map((column) => [column.Name, column.Type.Name]) : []),
  };
}

// The parser is silent about mistakes inside a stored function's body, wherever it is called.
function checkFunctions(language, globals, functions) {
  for (const [name, body] of Object.entries(functions)) {
    const error = analyze(language, globals, body).diagnostics.find(({ severity }) => severity === "Error");
    if (error) throw new Error(`function ${name}, line ${error.line}, column ${error.column}: ${error.message}`);
  }
}

function main() {
  const { schema, functions = {}, texts } = JSON.parse(fs.readFileSync(0, "utf8"));
  const language = loadLanguage();
  const globals = workspace(language, schema, functions);
  checkFunctions(language, globals, functions);
  const results = Object.entries(texts).map(([name, text]) => [name, analyze(language, globals, text)]);
  process.stdout.write(JSON.stringify(Object.fromEntries(results)));
}

try {
  main();
} catch (error) {
  // Not thrown on: node would print the failing source line, and the parser's is two megabytes long.
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}
