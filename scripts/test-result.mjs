// Prints the test runner's own result as `N passed, N failed, N skipped`, and fails on a failure or a skip.
import { readFileSync } from 'node:fs';

const result = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const broken = result.testResults.filter((file) => file.status === 'failed' && file.assertionResults.length === 0);
const failed = result.numFailedTests + broken.length;
const skipped = result.numPendingTests + result.numTodoTests;
console.log(`${result.numPassedTests} passed, ${failed} failed, ${skipped} skipped`);
if (failed > 0 || skipped > 0 || result.numPassedTests === 0) process.exit(1);
