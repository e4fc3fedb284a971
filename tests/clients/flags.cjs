// Asks for flags with PostHog's Node client, unmodified: `node flags.cjs URL KEY PERSON`. Prints what
// the client makes of the answer, as JSON.

async function ask(host, key, person) {
  const { PostHog } = require('posthog-node')
  const client = new PostHog(key, { host })
  client.on('error', fail)
  const found = {
    values: await client.getAllFlags(person),
    variant: await client.getFeatureFlag('chat', person),
    enabled: await client.isFeatureEnabled('chat', person),
    payload: await client.getFeatureFlagPayload('chat', person),
    missing: (await client.getFeatureFlag('no such flag', person)) ?? null,
  }
  await client.shutdown()
  console.log(JSON.stringify(found))
}

function fail(error) {
  console.error(error)
  process.exitCode = 1
}

const [host, key, person] = process.argv.slice(2)
ask(host, key, person).catch(fail)
