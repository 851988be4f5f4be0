// The scenes of the demo. Each sends on one side, waits for the other side and says whether that is right.
import { connectMqtt, joinGroup, kafkaOf, produce, text } from './clients.mjs';

/** MQTT in, Kafka out. */
export async function mqttToKafka(server, report) {
  report.scene('MQTT publish -> Kafka consumer group "dashboard" on topic "mqtt"');
  const { client } = await connectMqtt(server, { clientId: 'pump-7' });
  const readings = [20.5, 20.7, 21.1].map((value) => JSON.stringify({ celsius: value }));
  for (const payload of readings) {
    const properties = { contentType: 'application/json', userProperties: { unit: 'celsius' } };
    await client.publishAsync('plant/pump-7/temperature', payload, { qos: 1, properties });
    report.in(
      'MQTT',
      `QoS 1  plant/pump-7/temperature  ${payload}  content type application/json, unit=celsius`,
    );
  }
  await client.endAsync();
  const group = await joinGroup(kafkaOf(server), 'dashboard', 'mqtt');
  const records = await group.inbox.first(readings.length, 'records of the MQTT publishes');
  for (const record of records) {
    const headers = ['content-type', 'unit'].map((name) => `${name}=${text(record.headers[name])}`).join(' ');
    report.out(
      'Kafka',
      `partition ${record.partition} offset ${record.offset}  key ${record.key}  value ${record.value}  ${headers}`,
    );
  }
  await group.stop();
  report.expect('every publish is a record, in order', values(records), readings);
  report.expect('the MQTT topic name is the key', distinct(records, 'key'), ['plant/pump-7/temperature']);
  report.expect(
    'MQTT properties are headers',
    records.map(({ headers }) => text(headers['content-type']) + text(headers.unit)),
    readings.map(() => 'application/jsoncelsius'),
  );
}

/** Kafka in, MQTT out. */
export async function kafkaToMqtt(server, report) {
  report.scene('Kafka produce to topic "orders" -> MQTT subscription "orders/#"');
  const { client, inbox } = await connectMqtt(server);
  await client.subscribeAsync('orders/#', { qos: 1 });
  const messages = [
    { key: 'berlin/42', value: '3 pumps', headers: { 'content-type': 'text/plain', source: 'shop' } },
    { key: 'berlin/43', value: '1 valve', headers: { source: 'phone' } },
    { key: 'oslo/7', value: '9 gaskets' },
  ];
  await produce(kafkaOf(server), 'orders', messages);
  for (const { key, value, headers = {} } of messages) {
    const shown = Object.entries(headers).map(([name, of]) => `${name}=${of}`);
    report.in('Kafka', `topic orders  key ${key}  value ${value}  ${shown.join(' ')}`);
  }
  const received = await inbox.first(messages.length, 'messages of the Kafka records');
  for (const { topic, payload, qos, properties } of received) {
    const { contentType, userProperties = {} } = properties;
    const type = contentType === undefined ? '' : `content type ${contentType} `;
    const user = Object.entries(userProperties).map(([name, value]) => `${name}=${value}`);
    report.out('MQTT', `QoS ${qos}  ${topic}  ${payload}  ${type}${user.join(' ')}`);
  }
  await client.endAsync();
  const byTopic = Object.fromEntries(received.map(({ topic, payload }) => [topic, payload]));
  report.expect(
    'topic and key are the MQTT topic name',
    Object.keys(byTopic).sort(),
    messages.map(({ key }) => `orders/${key}`),
  );
  report.expect(
    'values are the payloads',
    messages.map(({ key }) => byTopic[`orders/${key}`]),
    messages.map(({ value }) => value),
  );
  const first = received.find(({ topic }) => topic === 'orders/berlin/42');
  report.expect(
    'headers are properties',
    [first?.properties.contentType, first?.properties.userProperties?.source],
    ['text/plain', 'shop'],
  );
}

/** The last value of a subject for who comes later. */
export async function retained(server, report) {
  report.scene('A retained message -> a subscriber that comes later');
  const { client } = await connectMqtt(server);
  for (const payload of ['stopped', 'running']) {
    await client.publishAsync('plant/pump-7/state', payload, { qos: 1, retain: true });
    report.in('MQTT', `QoS 1 retain  plant/pump-7/state  ${payload}`);
  }
  await client.endAsync();
  const late = await connectMqtt(server);
  await late.client.subscribeAsync('plant/+/state', { qos: 1 });
  const [message] = await late.inbox.first(1, 'the retained message');
  await late.client.endAsync();
  report.out('MQTT', `QoS ${message.qos} retain=${message.retain}  ${message.topic}  ${message.payload}`);
  report.expect('the latest value, marked as retained', [message.payload, message.retain], ['running', true]);
  report.expect('and only that', late.inbox.items.length, 1);
}

/** Nothing acknowledged is lost by kill -9; readers of both protocols go on where they were. */
export async function survival(server, report) {
  report.scene('kill -9 with a persistent MQTT session and a Kafka group away, then a restart');
  const session = { clientId: 'operator', clean: false, properties: { sessionExpiryInterval: 3600 } };
  const before = await connectMqtt(server, session);
  await before.client.subscribeAsync(['plant/#', 'orders/#'], { qos: 2 });
  await before.client.endAsync();
  report.say('   ...  the MQTT session "operator" (plant/#, orders/#) and the group "dashboard" are offline');

  const pump = await connectMqtt(server, { clientId: 'pump-7' });
  const sent = ['alarm 1', 'alarm 2', 'alarm 3'];
  for (const payload of sent) {
    await pump.client.publishAsync('plant/pump-7/alarm', payload, { qos: 2 });
    report.in('MQTT', `QoS 2  plant/pump-7/alarm  ${payload}`);
  }
  await pump.client.endAsync();
  await produce(kafkaOf(server), 'orders', [{ key: 'berlin/44', value: '2 filters' }]);
  report.in('Kafka', 'topic orders  key berlin/44  value 2 filters');

  const { signal } = await server.kill();
  await server.start();
  report.say(`   ...  the server was ended with ${signal} and is up again after ${server.readyMs} ms`);

  const after = await connectMqtt(server, session);
  const received = await after.inbox.first(sent.length + 1, 'messages of the offline session');
  for (const { topic, payload, qos } of received) report.out('MQTT', `QoS ${qos}  ${topic}  ${payload}`);
  report.expect('the session is still there', after.sessionPresent(), true);
  const payloads = (wanted) => received.filter(({ topic }) => topic === wanted).map(({ payload }) => payload);
  report.expect('it gets what MQTT published meanwhile, in order', payloads('plant/pump-7/alarm'), sent);
  report.expect('and what Kafka produced meanwhile', payloads('orders/berlin/44'), ['2 filters']);
  await after.client.endAsync();

  const group = await joinGroup(kafkaOf(server), 'dashboard', 'mqtt');
  // The two states of the pump were published after the group had left, too.
  const records = await group.inbox.first(sent.length + 2, 'records after the committed offsets');
  await group.stop();
  for (const { partition, offset, key, value } of records) {
    report.out('Kafka', `partition ${partition} offset ${offset}  key ${key}  value ${value}`);
  }
  report.expect(
    'the group goes on where it committed: nothing again, nothing left out',
    records.map(({ value }) => value).sort(),
    [...sent, 'running', 'stopped'],
  );
  const late = await connectMqtt(server);
  await late.client.subscribeAsync('plant/pump-7/state', { qos: 1 });
  const [state] = await late.inbox.first(1, 'the retained message after the restart');
  await late.client.endAsync();
  report.out('MQTT', `retain=${state.retain}  ${state.topic}  ${state.payload}`);
  report.expect('the retained message is still there', [state.payload, state.retain], ['running', true]);
}

function values(records) {
  return records.map(({ value }) => value);
}

function distinct(records, field) {
  return [...new Set(records.map((record) => record[field]))];
}
