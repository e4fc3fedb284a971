// Uses a store through ClickHouse's client for Node; prints what was read as JSON.
const { createClient, ClickHouseLogLevel } = require('@clickhouse/client')

async function use(url, password, table, compression) {
  const log = { level: ClickHouseLogLevel.OFF }
  const client = createClient({ url, username: 'default', password, compression, log })
  const columns = 'id UInt64, kind LowCardinality(String), properties JSON'
  await client.command({ query: `CREATE TABLE ${table} (${columns}) ENGINE = MergeTree ORDER BY id` })
  const values = Array.from({ length: 1000 }, (_, id) => ({ id, kind: `kind ${id % 3}`, properties: { page: '/x' } }))
  await client.insert({ table, values, format: 'JSONEachRow' })
  const insert = await client.exec({ query: `INSERT INTO ${table} (id, kind) FORMAT CSV\n5000,v;w` })
  for await (const _ of insert.stream) { /* nothing comes */ }
  const query = `SELECT kind, count() AS n FROM ${table} WHERE id >= {first:UInt64} GROUP BY kind ORDER BY kind`
  const counts = await (await client.query({ query, query_params: { first: 10 }, format: 'JSONEachRow' })).json()
  const many = await client.query({ query: 'SELECT number FROM numbers(300000)', format: 'JSONCompactEachRow' })
  let streamed = 0
  for await (const rows of many.stream()) streamed += rows.length
  const errors = []
  for (const failing of ['SELECT nothing', 'SELECT throwIf(number = 900000), rand64() FROM numbers(1000000)']) {
    try {
      const result = await client.query({ query: failing, format: 'JSONEachRow' })
      for await (const _ of result.stream()) { /* until it fails */ }
    } catch (error) {
      errors.push(error.code)
    }
  }
  await client.close()
  return { counts, streamed, errors }
}

async function main() {
  const [url, password] = process.argv.slice(2)
  console.log(JSON.stringify(await use(url, password, 'node_plain', {})))
  console.log(JSON.stringify(await use(url, password, 'node_gzip', { request: true, response: true })))
}

main()
