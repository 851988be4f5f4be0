import { createEchoKafka } from './echo-kafka.ts';
import { createEchoMqtt } from './echo-mqtt.ts';

/** Entry point of the echo process: MQTT port, Kafka port. */
createEchoMqtt().listen(Number(process.argv[2]), '127.0.0.1');
createEchoKafka().listen(Number(process.argv[3]), '127.0.0.1');
