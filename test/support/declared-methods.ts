import { globSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);
const ts = require('typescript') as typeof import('typescript');

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** A method as the source declares it: what reflection cannot tell is whether it is public. */
export interface DeclaredMethod {
  file: string;
  className: string;
  method: string;
  /** The names of its decorators. */
  decorators: string[];
  /** Whether it may answer a promise: only a declared type can say that it does not. */
  mayWait: boolean;
}

/** The public instance methods of the classes in the files of a pattern below src/, specs left out. */
export function declaredMethods(pattern: string): DeclaredMethod[] {
  return globSync(pattern, { cwd: `${ROOT}src` })
    .filter((file) => !file.endsWith('.spec.ts'))
    .sort()
    .flatMap((file) => publicMethodsOf(file, readFileSync(`${ROOT}src/${file}`, 'utf8')));
}

/** The same for a text. */
export function publicMethodsOf(file: string, text: string): DeclaredMethod[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.ESNext);
  const classes = source.statements.filter((statement) => ts.isClassDeclaration(statement));
  return classes.flatMap((declaration) =>
    declaration.members
      .filter((member) => ts.isMethodDeclaration(member))
      .filter(({ name, modifiers = [] }) => {
        const hidden = [ts.SyntaxKind.PrivateKeyword, ts.SyntaxKind.ProtectedKeyword, ts.SyntaxKind.StaticKeyword];
        return ts.isIdentifier(name) && !modifiers.some(({ kind }) => hidden.includes(kind));
      })
      .map((member) => ({
        file,
        className: declaration.name?.text ?? '',
        method: member.name.getText(source),
        mayWait: member.type === undefined || /Promise/.test(member.type.getText(source)),
        decorators: (ts.getDecorators(member) ?? []).map(({ expression }) =>
          (ts.isCallExpression(expression) ? expression.expression : expression).getText(source),
        ),
      })),
  );
}
