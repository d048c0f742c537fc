// The canonical work with mqtt.js: `node gateway.js <broker port> <qos>`. It keeps nothing.
'use strict';
const mqtt = require('mqtt');

const [port, qos] = process.argv.slice(2).map(Number);
const RH_MAX = 95;

const client = mqtt.connect(`mqtt://127.0.0.1:${port}`, { clientId: 'mqttjs', clean: false, reconnectPeriod: 0 });

client.on('connect', () => client.subscribe('sensors/+/raw', { qos }));

client.on('message', (topic, payload) => {
  const reading = JSON.parse(payload);
  if (reading.rh > RH_MAX) return;
  reading.t = reading.t * 1.8 + 32;
  client.publish('processed/' + topic.split('/')[1], JSON.stringify(reading), { qos });
});

for (const event of ['error', 'close']) {
  client.on(event, (reason) => {
    console.error(`mqttjs: ${event}: ${reason}`);
    process.exit(1);
  });
}
