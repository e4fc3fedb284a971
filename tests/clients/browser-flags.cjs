// Asks for flags with posthog-js, unmodified, on a page of another origin, in a headless Chromium:
// `node browser-flags.cjs URL KEY PERSON`. The person sends `cart` and `help`, and the page asks until
// the flag `chat` is on. Prints what the page has then, as JSON; what the page complains of is an error.

const fs = require('node:fs')
const http = require('node:http')
const path = require('node:path')
const puppeteer = require('puppeteer-core')

const SCRIPT = path.join(process.env.NODE_PATH, 'posthog-js/dist/array.full.js')
const PATIENCE_MS = 60_000

// Runs in the page.
async function see(host, key, person, patience) {
  const { posthog } = window
  posthog.init(key, { api_host: host, opt_out_useragent_filter: true })
  const loaded = () => new Promise((resolve) => posthog.onFeatureFlags(resolve))
  await loaded()
  const before = posthog.getFeatureFlag('chat')
  posthog.identify(person)
  posthog.capture('cart')
  posthog.capture('help')
  const end = Date.now() + patience
  while (!posthog.isFeatureEnabled('chat') && Date.now() < end) {
    posthog.reloadFeatureFlags()
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  return {
    before,
    after: posthog.getFeatureFlag('chat'),
    payload: posthog.getFeatureFlagPayload('chat'),
    all: posthog.featureFlags.getFlagVariants(),
  }
}

function serve() {
  const server = http.createServer((request, response) => {
    if (request.url === '/array.js') {
      response.setHeader('Content-Type', 'text/javascript')
      fs.createReadStream(SCRIPT).pipe(response)
    } else {
      response.setHeader('Content-Type', 'text/html')
      response.end('<!doctype html><title>a shop</title><script src="/array.js"></script>')
    }
  })
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)))
}

async function run(host, key, person) {
  const { default: chromium } = await import(
    require.resolve('@sparticuz/chromium', { paths: [process.env.NODE_PATH] })
  )
  const server = await serve()
  const browser = await puppeteer.launch({
    executablePath: await chromium.executablePath(),
    args: chromium.args,
    headless: 'shell',
  })
  try {
    const page = await browser.newPage()
    page.on('pageerror', fail)
    page.on('console', (line) => line.type() === 'error' && fail(line.text()))
    page.on('requestfailed', (request) => fail(`${request.url()} ${request.failure().errorText}`))
    await page.goto(`http://127.0.0.1:${server.address().port}/`)
    console.log(JSON.stringify(await page.evaluate(see, host, key, person, PATIENCE_MS)))
  } finally {
    await browser.close()
    server.close()
  }
}

function fail(error) {
  console.error(error)
  process.exitCode = 1
}

run(...process.argv.slice(2)).catch(fail)
