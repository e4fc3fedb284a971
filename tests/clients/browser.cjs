// Sends from a page of another origin, with the vendors' browser SDKs, unmodified, in a headless
// Chromium: `node browser.cjs posthog|segment URL KEY`. What the page complains of is an error.

const fs = require('node:fs')
const http = require('node:http')
const path = require('node:path')
const puppeteer = require('puppeteer-core')

const SCRIPTS = {
  posthog: 'posthog-js/dist/array.full.js',
  segment: '@segment/analytics-next/dist/umd/index.js',
}
const PATIENCE_MS = 30_000

// These two run in the page.

async function posthog(host, key) {
  // Else it leaves out robots, and takes a headless browser for one.
  window.posthog.init(key, { api_host: host, opt_out_useragent_filter: true })
  window.posthog.capture('a paid', { für: 12.5 })
  window.posthog.identify('u1', { plan: 'pro' })
  window.posthog.capture('b seen')
}

async function segment(host, key) {
  const settings = { writeKey: key, cdnURL: host }
  const analytics = window.AnalyticsNext.AnalyticsBrowser.load(settings)
  await analytics.track('a paid', { für: 12.5 })
  await analytics.identify('u1', { plan: 'pro' })
  await analytics.track('b seen')
  await analytics.page('docs', 'home')
}

// A page with the SDK's script, and the script's own pieces beside it.
function serve(script) {
  const file = path.join(process.env.NODE_PATH, script)
  const page = `<!doctype html><title>a shop</title><script src="/${path.basename(file)}"></script>`
  const server = http.createServer((request, response) => {
    const name = path.basename(new URL(request.url, 'http://page').pathname)
    const asked = path.join(path.dirname(file), name)
    if (name.endsWith('.js') && fs.existsSync(asked)) {
      response.setHeader('Content-Type', 'text/javascript')
      fs.createReadStream(asked).pipe(response)
    } else {
      response.setHeader('Content-Type', 'text/html')
      response.end(name === 'favicon.ico' ? '' : page)
    }
  })
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)))
}

async function send(client, host, key) {
  const { default: chromium } = await import(
    require.resolve('@sparticuz/chromium', { paths: [process.env.NODE_PATH] })
  )
  const server = await serve(SCRIPTS[client])
  const browser = await puppeteer.launch({
    executablePath: await chromium.executablePath(),
    args: chromium.args,
    headless: 'shell',
  })
  try {
    const page = await browser.newPage()
    page.setDefaultTimeout(PATIENCE_MS)
    page.on('pageerror', fail)
    page.on('console', (line) => line.type() === 'error' && fail(line.text()))
    page.on('requestfailed', (request) => fail(`${request.url()} ${request.failure().errorText}`))
    await page.goto(`http://127.0.0.1:${server.address().port}/`)
    await page.evaluate({ posthog, segment }[client], host, key)
    await page.waitForNetworkIdle({ idleTime: 4_000 }) // longer than PostHog gathers a batch
    await page.goto('about:blank') // what is sent on leaving is sent as a beacon
    await new Promise((resolve) => setTimeout(resolve, 1_000))
  } finally {
    await browser.close()
    server.close()
  }
}

function fail(error) {
  console.error(error)
  process.exitCode = 1
}

const [client, host, key] = process.argv.slice(2)
send(client, host, key).catch(fail)
