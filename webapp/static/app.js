// Everything here is a convenience: each page works without it. No inline handlers, no eval, one file.
"use strict";

const root = document.documentElement;
root.classList.add("scripts");
const find = (selector, from = document) => from.querySelector(selector);
const all = (selector, from = document) => [...from.querySelectorAll(selector)];

// --- copy buttons ------------------------------------------------------------------------------

async function copy(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch {
    const field = document.createElement("textarea"); // plain http has no clipboard
    field.value = button.dataset.copy;
    field.readOnly = true;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  button.classList.add("copied");
  setTimeout(() => button.classList.remove("copied"), 1200);
}

// --- ages of <time data-age> --------------------------------------------------------------------

function age(moment, now) {
  const seconds = (now - moment) / 1000;
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  if (seconds < 86400 * 14) return `${Math.floor(seconds / 86400)} d ago`;
  return null; // a date does not grow older
}

function refreshAges() {
  for (const element of all("time[data-age]")) {
    const text = age(Date.parse(element.dateTime), Date.now());
    if (text && element.textContent !== text) element.textContent = text;
  }
}

// --- regions that change while one looks: [data-live] of main[data-refresh] -------------------------

async function refreshPage() {
  let answer;
  try {
    answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" });
  } catch {
    return; // the farm restarts or the network is away: what is shown stays
  }
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const before = find("#log"), after = find("#log", fresh);
  if (after && before?.dataset.attempt !== after.dataset.attempt && !location.pathname.includes("/attempts/")) {
    location.reload(); // a builder took the job, or another attempt began
    return;
  }
  for (const region of all("[data-live][id]")) {
    const next = fresh.getElementById(region.id);
    const busy = region.contains(document.activeElement) && document.activeElement.matches("input, select");
    if (next && !busy && next.innerHTML !== region.innerHTML) {
      const open = all("details[open] > summary", region).map((one) => one.textContent);
      region.replaceChildren(...document.adoptNode(next).childNodes);
      for (const one of all("details > summary", region)) one.parentElement.open ||= open.includes(one.textContent);
    }
  }
  document.title = fresh.title;
  const main = find("main"), every = find("main", fresh)?.dataset.refresh;
  if (every) main.dataset.refresh = every;
  else delete main.dataset.refresh;
}

async function keepFresh() {
  const every = Number(find("main")?.dataset.refresh);
  if (!every) return;
  await new Promise((resolve) => setTimeout(resolve, every * 1000));
  if (!document.hidden) await refreshPage();
  keepFresh();
}

// --- the log: follow, gaps, line links ---------------------------------------------------------------

function startLog(log) {
  const follow = find("#follow");
  const say = (text) => (find("#log-state").textContent = text);
  let offset = Number(log.dataset.offset);
  const query = () => `attempt=${log.dataset.attempt}&offset=${offset}`;

  function section(phase) {
    const last = all(".phase", log).at(-1);
    if (last?.dataset.phase === phase) return last;
    if (last && follow.checked) last.open = false;
    find("#quiet")?.remove();
    const made = find("#phase").content.firstElementChild.cloneNode(true);
    made.dataset.phase = phase;
    find("b", made).textContent = phase;
    log.append(made);
    return made;
  }

  function append(piece) {
    if (piece.end <= offset) return;
    offset = piece.end;
    const list = document.createElement("ol");
    list.className = "chunk";
    list.innerHTML = piece.html; // made and escaped by the server
    section(piece.phase).append(list);
    if (follow.checked) scrollTo({ top: document.body.scrollHeight });
  }

  function ended() {
    say("The log is complete.");
    refreshPage();
  }

  async function poll() {
    try {
      const answer = await fetch(`/jobs/${log.dataset.job}/tail?${query()}`);
      const part = await answer.json();
      part.items.forEach(append);
      if (part.done) return ended();
    } catch {
      // tried again below
    }
    setTimeout(poll, 2500);
  }

  function listen() {
    const events = new EventSource(`/jobs/${log.dataset.job}/events?${query()}`);
    events.onmessage = (event) => append(JSON.parse(event.data));
    events.addEventListener("done", () => { events.close(); ended(); });
    events.onerror = () => {
      // CONNECTING: the browser comes back by itself. CLOSED: no place is free, or the farm is away.
      if (events.readyState === EventSource.CLOSED) setTimeout(poll, 1000);
    };
  }

  if ("running" in log.dataset) listen();

  let top = scrollY;
  addEventListener("scroll", () => {
    const up = scrollY < top - 2, end = innerHeight + scrollY >= document.body.scrollHeight - 60;
    if (up && follow.checked && !end) follow.checked = false; // the reader wants to read
    top = scrollY;
  }, { passive: true });
  follow.addEventListener("change", () => follow.checked && scrollTo({ top: document.body.scrollHeight }));

  log.addEventListener("click", async (event) => {
    const gap = event.target.closest(".gap a");
    if (!gap || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const first = Number(gap.dataset.first), last = Number(gap.dataset.last), end = Math.min(last, first + 999);
    const answer = await fetch(`/jobs/${log.dataset.job}/lines?attempt=${log.dataset.attempt}&first=${first}&last=${end}`);
    if (!answer.ok) return;
    gap.parentElement.insertAdjacentHTML("beforebegin", await answer.text());
    if (end === last) return gap.parentElement.remove();
    gap.dataset.first = end + 1;
    gap.textContent = `${last - end} lines are not shown`;
  });

  addEventListener("hashchange", showLine);
  showLine();
}

// #L12 or #L12-L20: open its section, mark the range; a line that the page does not hold is asked for.
function showLine() {
  const wanted = /^#L(\d+)(?:-L(\d+))?$/.exec(location.hash);
  for (const line of all(".chosen")) line.classList.remove("chosen");
  if (!wanted) return;
  const first = document.getElementById(`L${wanted[1]}`);
  if (!first) {
    const asked = new URLSearchParams(location.search).get("line");
    if (asked !== wanted[1]) location.replace(`?line=${wanted[1]}${location.hash}`);
    return;
  }
  first.closest("details").open = true;
  const follow = find("#follow");
  if (follow) follow.checked = false;
  for (let number = Number(wanted[1]); number <= Number(wanted[2] ?? wanted[1]); number++)
    document.getElementById(`L${number}`)?.classList.add("chosen");
  first.scrollIntoView({ block: "center" });
}

// --- start ---------------------------------------------------------------------------------------

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
  const theme = event.target.closest(".themes button");
  if (theme) {
    event.preventDefault();
    if (theme.value === "system") delete root.dataset.theme;
    else root.dataset.theme = theme.value;
    const secure = location.protocol === "https:" ? "; secure" : "";
    document.cookie = `buildfarm_theme=${theme.value}; path=/; max-age=31536000; samesite=lax${secure}`;
    for (const one of all(".themes button")) one.setAttribute("aria-pressed", one === theme);
  }
  // Shift and a line number extend the chosen line to a range.
  const line = event.target.closest(".chunk li > a");
  const chosen = /^#L(\d+)/.exec(location.hash);
  if (line && event.shiftKey && chosen) {
    event.preventDefault();
    const [low, high] = [Number(chosen[1]), Number(line.textContent)].sort((a, b) => a - b);
    location.hash = `#L${low}-L${high}`;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select, textarea")) return;
  event.preventDefault();
  find("#search")?.focus();
});

setInterval(refreshAges, 10_000);
keepFresh();
if (find("#log")) startLog(find("#log"));
