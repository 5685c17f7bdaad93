// Steers a page in headless Chromium: node browser.js URL PROFILE. One JSON request a line on stdin, {"do": "wait",
// "selector": S, "text": T} (an element has exactly this
// text), {"do": "fill", …} or {"do": "click", …}; one JSON answer a line on stdout, with "error" when it
// could not be done in time. The first answer, to no request, says that the page is open. What the page complains about goes
// to stderr. The end of stdin closes the browser.
'use strict'

const readline = require('node:readline')
const { chromium } = require('playwright-core')

const [url, profile] = process.argv.slice(2)
const timeout = 60000

function answer (error) {
  process.stdout.write(JSON.stringify(error ? { error: String(error) } : {}) + '\n')
}

async function carryOut (page, r) {
  switch (r.do) {
    case 'wait':
      return page.waitForFunction(({ selector, text }) =>
        [...document.querySelectorAll(selector)].some((e) => e.textContent === text), r, { timeout })
    case 'fill':
      return page.fill(r.selector, r.text, { timeout })
    case 'click':
      return page.click(r.selector, { timeout })
    default:
      throw new Error(`unknown request ${r.do}`)
  }
}

async function main () {
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: '/usr/bin/chromium',
    headless: true,
    chromiumSandbox: false, // it does not run as root with one
    args: ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
      // The key of a server that is trusted, as the base64 of its SHA-256.
      ...(process.env.MIDGE_BROWSER_SPKI ? [`--ignore-certificate-errors-spki-list=${process.env.MIDGE_BROWSER_SPKI}`] : [])],
    timeout
  })
  try {
    const page = await context.newPage()
    page.on('pageerror', (err) => process.stderr.write(`page: ${err}\n`))
    await page.goto(url, { timeout })
    answer()
    for await (const line of readline.createInterface({ input: process.stdin })) {
      await carryOut(page, JSON.parse(line)).then(() => answer(), answer)
    }
  } finally {
    await context.close()
  }
}

main().catch((err) => {
  answer(err)
  process.exitCode = 1
})
