// Sends with the vendors' Node clients, unmodified: `node send.cjs posthog|segment URL KEY`.
// CommonJS, as only that finds modules by NODE_PATH, outside the checkout.

const paidAt = new Date('2026-03-01T12:00:00.250Z')

async function posthog(host, key) {
  const { PostHog } = require('posthog-node')
  const client = new PostHog(key, { host })
  client.on('error', fail)
  client.capture({
    distinctId: 'u1',
    event: 'a paid',
    properties: { für: 12.5 },
    timestamp: paidAt,
    uuid: '0190a6c5-7b4e-7c3a-9d21-3f0e8a5b6c7d',
  })
  client.capture({ distinctId: 'u2', event: 'b seen', properties: { $session_id: 's1' } })
  client.identify({ distinctId: 'u1', properties: { plan: 'pro' } })
  client.alias({ distinctId: 'u1', alias: 'old' })
  const flags = await client.getAllFlags('u1')
  if (Object.keys(flags).length) fail(`flags out of nowhere: ${JSON.stringify(flags)}`)
  await client.shutdown()
}

async function segment(host, key) {
  const { Analytics } = require('@segment/analytics-node')
  const client = new Analytics({ writeKey: key, host })
  client.on('error', fail)
  client.track({
    userId: 'u1',
    anonymousId: 'a1',
    event: 'a paid',
    properties: { für: 12.5 },
    timestamp: paidAt,
    messageId: '0190a6c5-7b4e-7c3a-9d21-3f0e8a5b6c7d',
  })
  client.track({ anonymousId: 'a2', event: 'b seen' })
  client.identify({ userId: 'u1', traits: { plan: 'pro' } })
  client.group({ userId: 'u1', groupId: 'g1', traits: { seats: 5 } })
  client.page({ userId: 'u1', category: 'docs', name: 'home', properties: { url: '/' } })
  client.screen({ userId: 'u1', name: 'cart' })
  client.alias({ userId: 'u1', previousId: 'old' })
  await client.closeAndFlush()
}

function fail(error) {
  console.error(error)
  process.exitCode = 1
}

const [client, host, key] = process.argv.slice(2)
;({ posthog, segment })[client](host, key).catch(fail)
