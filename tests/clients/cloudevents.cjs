// Prints what the CloudEvents SDK for JavaScript would send to Kafka, one message a line, in JSON:
// {"name", "key", "headers", "value"}, where the value is in base64, or null.

const { CloudEvent, Kafka } = require('cloudevents')

const common = {
  type: 'signup',
  source: '/web',
  subject: 'ada',
  time: '2026-03-01T12:00:00.250Z',
  partitionkey: 'default:ada',
}
const variants = {
  object: { data: { plan: 'pro' } },
  bytes: { data: Buffer.from('{"plan":"pro"}') },
  'typed bytes': { data: Buffer.from('{"plan":"pro"}'), datacontenttype: 'application/json' },
  typed: { data: { plan: 'pro' }, datacontenttype: 'application/json; charset=utf-8' },
  'cut emoji': { data: { plan: 'pro', cut: '\ud83d' } },
  nothing: {},
  null: { data: null },
}

function bytes(value) {
  if (value === undefined || value === null) return null
  if (Buffer.isBuffer(value)) return value
  return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value))
}

for (const [name, fields] of Object.entries(variants)) {
  for (const mode of ['binary', 'structured']) {
    const event = new CloudEvent({ id: `${name} ${mode}`, ...common, ...fields })
    const message = Kafka[mode](event)
    const value = bytes(message.value)
    const headers = Object.entries(message.headers).filter(([, text]) => text !== undefined)
    const line = { name, key: message.key, headers, value: value && value.toString('base64') }
    console.log(JSON.stringify(line))
  }
}
