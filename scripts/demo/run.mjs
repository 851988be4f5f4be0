// Starts a server on free ports in a temporary folder and plays the scenes on it, one after the other.
import { ServerProcess } from '@robustmq/testkit';
import { Report } from './report.mjs';
import { kafkaToMqtt, mqttToKafka, retained, survival } from './scenes.mjs';

/** How long all scenes may take; beyond it something hangs. */
const deadlineMs = 60_000;

/** Returns whether everything came out as it should. */
export async function runDemo() {
  const report = new Report();
  const server = await ServerProcess.start();
  const timer = setTimeout(() => {
    report.failure(new Error(`the demo did not end within ${deadlineMs / 1000} s`));
    report.verdict();
    process.kill(server.pid, 'SIGKILL');
    process.exit(1);
  }, deadlineMs);
  try {
    report.say(`A server runs: MQTT on ${server.address('mqtt')}, Kafka on ${server.address('kafka')}.`);
    report.say('Clients: MQTT.js and kafkajs. The default topic is "mqtt": its keys are MQTT topic names.');
    for (const scene of [mqttToKafka, kafkaToMqtt, retained, survival]) await scene(server, report);
  } catch (error) {
    report.failure(error);
  } finally {
    clearTimeout(timer);
    await server[Symbol.asyncDispose]();
  }
  return report.verdict();
}
