// Drives one Chromium: a command is a line of JSON on stdin, its answer a line on stdout.
import { createInterface } from "node:readline";
import axe from "axe-core";
import chromium from "@sparticuz/chromium";
import puppeteer from "puppeteer-core";

// Its own arguments but for those that would switch off what is tested here: the boundaries between sites.
const LAX = ["--allow-running-insecure-content", "--disable-web-security", "--disable-site-isolation-trials"];
const HANG = 120_000; // milliseconds; a busy machine takes some seconds to open a page
const browser = await puppeteer.launch({
    args: chromium.args.filter((one) => !LAX.includes(one)),
    executablePath: await chromium.executablePath(),
    headless: "shell",
    timeout: HANG,
});
let page;
let seen;

// A page of its own, and everything in it that should not be: errors, refused loads, dialogs; and what it asked for.
async function open({ width, height, dark, scripts }) {
    await page?.close();
    page = await browser.newPage();
    page.setDefaultTimeout(HANG);
    seen = { problems: [], requests: [] };
    page.on("console", (said) => seen.problems.push(`console: ${said.text()}`));
    page.on("pageerror", (error) => seen.problems.push(`error: ${error.message}`));
    page.on("dialog", (dialog) => {
        seen.problems.push(`dialog: ${dialog.message()}`);
        dialog.dismiss();
    });
    page.on("request", (request) => seen.requests.push(`${request.method()} ${request.url()}`));
    // What the policy refuses is not sent, and not counted.
    page.on("requestfailed", (request) => {
        if (request.failure().errorText === "csp") seen.requests = seen.requests.filter((one) => !one.endsWith(request.url()));
    });
    await page.setJavaScriptEnabled(scripts);
    await page.setViewport({ width, height, deviceScaleFactor: 1, isMobile: width < 600, hasTouch: width < 600 });
    await page.emulateMediaFeatures([
        { name: "prefers-color-scheme", value: dark ? "dark" : "light" },
        { name: "prefers-reduced-motion", value: "reduce" },
    ]);
    return null;
}

const commands = {
    open,
    visit: async ({ url }) => (await page.goto(url, { waitUntil: "load" })).status(),
    seen: async () => seen,
    evaluate: async ({ code }) => page.evaluate(code),
    press: async ({ keys }) => {
        for (const key of keys) await page.keyboard.press(key);
        return null;
    },
    type: async ({ text }) => page.keyboard.type(text),
    // Presses a key that leads to another page, and waits for it.
    follow: async ({ key }) => {
        const [answer] = await Promise.all([page.waitForNavigation({ waitUntil: "load" }), page.keyboard.press(key)]);
        return answer.status();
    },
    axe: async () => {
        await page.evaluate(axe.source);
        const { violations } = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })");
        return violations.flatMap((one) => one.nodes.map((node) => `${one.id}: ${node.target} ${node.failureSummary}`));
    },
    shot: async ({ path, whole }) => {
        await page.screenshot({ path, fullPage: whole, optimizeForSpeed: false });
        return null;
    },
};

for await (const line of createInterface({ input: process.stdin })) {
    const { name, ...given } = JSON.parse(line);
    let answer;
    try {
        answer = { value: (await commands[name](given)) ?? null };
    } catch (error) {
        answer = { error: String(error) };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
