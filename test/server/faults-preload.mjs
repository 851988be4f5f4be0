// Loaded into a server under test (`NODE_OPTIONS=--import`): on SIGUSR2 it does what the file FAULTS_CONTROL says, shift
// the wall clock (`shiftMs`, in all) or block the event loop (`stallMs`).
import { readFileSync } from 'node:fs';

const RealDate = Date;
const realNow = Date.now;
let shiftMs = 0;

Date.now = () => realNow() + shiftMs;
globalThis.Date = new Proxy(RealDate, {
  construct: (target, args, newTarget) =>
    Reflect.construct(target, args.length === 0 ? [Date.now()] : args, newTarget),
});

obey();
process.on('SIGUSR2', obey);

function obey() {
  const { shiftMs: shift = 0, stallMs = 0 } = JSON.parse(readFileSync(process.env.FAULTS_CONTROL, 'utf8'));
  shiftMs = shift;
  if (stallMs > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, stallMs);
}
