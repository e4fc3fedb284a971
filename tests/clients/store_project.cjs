// Reads the views of a project through ClickHouse's client for Node; prints what was read as JSON.
const { createClient, ClickHouseLogLevel } = require('@clickhouse/client')

async function main() {
  const [url, username, password] = process.argv.slice(2)
  const log = { level: ClickHouseLogLevel.OFF }
  const client = createClient({ url, username, password, database: 'avila', log })
  const query = 'SELECT event, count() AS n FROM events WHERE event = {event:String} GROUP BY event'
  const counted = await client.query({ query, query_params: { event: 'buy' }, format: 'JSONEachRow' })
  const tables = await client.query({ query: 'SHOW TABLES', format: 'JSONEachRow' })
  let refused = ''
  try {
    await client.insert({ table: 'events', values: [{ event: 'x' }], format: 'JSONEachRow' })
  } catch (error) {
    refused = error.code
  }
  console.log(JSON.stringify({ counted: await counted.json(), tables: await tables.json(), refused }))
  await client.close()
}

main()
