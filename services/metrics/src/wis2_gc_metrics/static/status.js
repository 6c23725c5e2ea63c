// The status page: asks the API every two seconds and shows the answers.
// Texts of strangers (data ids, errors, host names) reach the page through textContent only.
"use strict";

const INTERVAL_MS = 2000;
const ROLLOUTS_INTERVAL_MS = 5000;
const TIMEOUT_MS = 8000;
const MAX_CENTRES = 500;
const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const byId = (id) => document.getElementById(id);

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    const error = new Error(typeof problem.detail === "string" ? problem.detail : `HTTP ${answer.status}`);
    throw Object.assign(error, { status: answer.status });
  }
  return answer.json();
}

// Writes only what differs, so that screen readers and selections are left in peace.
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function seconds(value) {
  if (value === null) return "–";
  if (value < 1) return `${whole.format(Math.round(value * 1000))} ms`;
  if (value < 120) return `${short.format(value)} s`;
  return `${short.format(value / 60)} min`;
}

function share(value) {
  if (value === null) return "–";
  // Never round a late item away.
  return `${(Math.floor(value * 10000) / 100).toFixed(2)} %`;
}

function perSecond(value) {
  return value === null || value === undefined ? "" : `${short.format(value)} per second`;
}

function ago(text, now) {
  if (text === null) return "never";
  const passed = Math.max(0, (now - Date.parse(text)) / 1000);
  if (passed < 2) return "just now";
  if (passed < 120) return `${Math.round(passed)} s ago`;
  if (passed < 7200) return `${Math.round(passed / 60)} min ago`;
  if (passed < 172800) return `${Math.round(passed / 3600)} h ago`;
  return `${Math.round(passed / 86400)} days ago`;
}

function cell(text, style = "", title = "") {
  return { text: String(text), style, title };
}

// rows: arrays of cells; the first cell of each is the row's header.
function fill(body, rows, empty) {
  if (rows.length === 0) {
    const columns = body.parentElement.tHead.rows[0].cells.length;
    rows = [[{ ...cell(empty, "empty"), columns }]];
  }
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((row, number) => {
    const line = body.rows[number] ?? body.insertRow();
    if (line.cells.length !== row.length) {
      line.replaceChildren(...row.map((_, column) => {
        const element = document.createElement(column === 0 && row.length > 1 ? "th" : "td");
        if (element.tagName === "TH") element.scope = "row";
        return element;
      }));
    }
    row.forEach((wanted, column) => {
      const element = line.cells[column];
      write(element, wanted.text);
      if (element.className !== wanted.style) element.className = wanted.style;
      if (element.title !== wanted.title) element.title = wanted.title;
      if (wanted.columns) element.colSpan = wanted.columns;
    });
  });
}

function showSummary(summary) {
  write(byId("centre-id"), summary.centre_id);
  document.title = `${summary.centre_id} · WIS2 Global Cache`;
  for (const element of document.querySelectorAll("[data-total]")) {
    write(element, whole.format(summary.totals[element.dataset.total]));
  }
  for (const element of document.querySelectorAll("[data-rate]")) {
    write(element, perSecond(summary.recent?.[element.dataset.rate]));
  }
  for (const element of document.querySelectorAll("[data-queue]")) {
    write(element, summary.queue === null ? "–" : whole.format(summary.queue[element.dataset.queue]));
  }
  write(byId("oldest"), summary.queue?.oldest_s > 0 ? `oldest ${seconds(summary.queue.oldest_s)}` : "");
  const lively = summary.recent !== null && summary.recent.delay.count > 0;
  const delay = lively ? summary.recent.delay : summary.delay;
  const since = lively ? "in the last minute" : "since the beginning";
  write(byId("p50"), seconds(delay.p50_s));
  write(byId("p99"), seconds(delay.p99_s));
  write(byId("p50-note"), `p50, ${since}`);
  write(byId("p99-note"), `p99, ${since}`);
  write(byId("within-120"), share(summary.delay.within_120_s));
  write(byId("within-300"), share(summary.delay.within_300_s));
  write(byId("within-600"), share(summary.delay.within_600_s));
}

const STATES = { well: "Well", degraded: "Degraded", down: "Down" };

function part(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

function reasonLine({ state, words, runbook }) {
  const line = document.createElement("li");
  line.dataset.state = state;
  line.append(part("strong", STATES[state]), `: ${words} · `, part("code", runbook));
  return line;
}

function showState(state, text, lines) {
  byId("state").dataset.state = state;
  write(byId("state-text"), text);
  const list = byId("reasons");
  list.dataset.state = state;
  list.hidden = lines.length === 0;
  const same = list.children.length === lines.length
    && lines.every((line, number) => line.isEqualNode(list.children[number]));
  if (!same) list.replaceChildren(...lines);
}

function listenerState(broker) {
  if (broker.is_ready) {
    const times = broker.facts.silence_reconnects;
    return cell(times ? `subscribed; was silent and connected again ${times}×` : "subscribed", "good");
  }
  if (!broker.is_reporting) return cell("silent", "bad");
  const problem = broker.facts.last_problem;
  return cell(problem ? `not subscribed: ${problem}` : "not subscribed", "bad");
}

function showBrokers({ brokers }, now) {
  fill(byId("brokers"), brokers.map((broker) => [
    cell(broker.name),
    listenerState(broker),
    cell(whole.format(broker.received), "number"),
    cell(whole.format(broker.queued), "number"),
    cell(ago(broker.last_message, now), "one-line", broker.last_message ?? ""),
  ]), "No listener has reported yet");
}

function managerState(manager) {
  const unseen = manager.facts.public_url_problem;
  if (manager.is_ready) return cell(unseen ? `receives; our public URL: ${unseen}` : "receives", unseen ? "wait long" : "good");
  const problems = Object.entries(manager.facts.problems ?? {}).map((entry) => entry.join(": "));
  return cell(["does not receive", ...problems].join("; "), "bad long");
}

function showManagers({ managers }, now) {
  fill(byId("managers"), managers.map((manager) => [
    cell(manager.name, "name"),
    managerState(manager),
    cell(manager.facts.in_flight ?? "–", "number"),
    cell(ago(manager.last_report, now), "one-line", manager.last_report),
  ]), "No manager reports");
}

function dataServers(servers) {
  const down = servers.filter((server) => server.is_up === false);
  if (servers.length === 0) return cell("–", "quiet");
  const names = servers.map((server) => server.name).join(", ");
  if (down.length === 0) return cell(`${servers.length} up`, "", names);
  return cell(`${down.length} of ${servers.length} down: ${down.map((server) => server.name).join(", ")}`, "bad long", names);
}

function showCentres({ centres }, now) {
  const shown = centres.slice(0, MAX_CENTRES);
  fill(byId("centres"), shown.map((centre) => {
    const failed = centre.download_errors + centre.integrity_failures;
    return [
      cell(centre.centre_id),
      cell(whole.format(centre.downloaded), "number"),
      cell(whole.format(failed), failed > 0 ? "number bad" : "number"),
      cell(whole.format(centre.no_cache + centre.overrides), "number"),
      cell(whole.format(centre.invalid), centre.invalid > 0 ? "number bad" : "number"),
      cell(ago(centre.last_download, now), "one-line", centre.last_download ?? ""),
      dataServers(centre.data_servers),
    ];
  }), "Nothing has been downloaded yet");
}

function showFailures({ failures }, now) {
  fill(byId("failures"), failures.map((failure) => [
    cell(ago(failure.at, now), "one-line", failure.at),
    cell(failure.centre_id, "one-line"),
    cell(failure.data_id, "long", `published ${failure.pubtime}`),
    cell(failure.error, "long"),
    cell(whole.format(failure.attempts), "number"),
  ]), "None");
}

function rolloutState(workload) {
  if (workload.is_complete) return cell("complete", "good");
  if (workload.problem !== null) return cell(workload.problem, "bad long");
  return cell("in progress", "wait one-line");
}

function imageVersion(version) {
  const [kind, digest] = version.split(":");
  return cell(digest ? `${kind}:${digest.slice(0, 12)}` : version || "–", "one-line", version);
}

function showRollouts(workloads) {
  fill(byId("rollouts"), workloads.map((workload) => [
    cell(workload.name, "name"),
    cell(workload.kind),
    rolloutState(workload),
    ...["desired", "updated", "ready", "available"].map((count) => cell(whole.format(workload[count]), "number")),
    imageVersion(workload.version),
  ]), "The release has no workloads");
}

// Apart from the rest, which is there also while the cluster's API is not.
async function updateRollouts() {
  const section = byId("rollouts-section");
  try {
    const rollouts = await ask("api/rollouts");
    section.hidden = !rollouts.is_in_cluster;
    showRollouts(rollouts.workloads);
  } catch (error) {
    // Only an answer says that there is a cluster; nothing at all is what update() shows.
    if (error.status === undefined) return;
    section.hidden = false;
    fill(byId("rollouts"), [], error.message);
  }
}

async function updateNumbers() {
  const [summary, brokers, managers, centres, failures] = await Promise.all([
    ask("api/summary"), ask("api/brokers"), ask("api/managers"), ask("api/centres"),
    ask("api/failures?limit=10"),
  ]);
  // The server's clock, not the visitor's.
  const now = Date.parse(summary.at);
  showSummary(summary);
  showBrokers(brokers, now);
  showManagers(managers, now);
  showCentres(centres, now);
  showFailures(failures, now);
  write(byId("updated"), `Updated ${new Date(now).toISOString().slice(0, 19).replace("T", " ")} UTC`);
}

// The verdict comes also while the numbers do not.
async function update() {
  const [verdict, numbers] = await Promise.allSettled([ask("api/health"), updateNumbers()]);
  const problem = (numbers.reason ?? verdict.reason)?.message;
  document.body.dataset.stale = String(problem !== undefined);
  const old = problem === undefined ? [] : [part("li", `No current numbers: ${problem}`)];
  if (verdict.status === "fulfilled") {
    const { state, reasons, window_s: window } = verdict.value;
    const isEarly = state === "well" && window === null;
    showState(state, isEarly ? "Well so far (less than 5 minutes read)" : STATES[state], [...reasons.map(reasonLine), ...old]);
  } else {
    showState("down", "No answer", old);
  }
}

async function run(step, interval) {
  for (;;) {
    // A page nobody looks at asks nothing.
    if (!document.hidden) await step();
    await new Promise((resolve) => setTimeout(resolve, interval));
  }
}

run(update, INTERVAL_MS);
run(updateRollouts, ROLLOUTS_INTERVAL_MS);
