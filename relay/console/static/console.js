// What pages do beyond links and forms. Everything works without this file but the live chart.
"use strict";
(() => {
  const ACTIONS = [
    ["deliver", "passed"],
    ["tag", "passed, marked"],
    ["hold", "held"],
    ["refuse", "refused"],
    ["defer", "put off"],
  ];
  const EVERY = 5000;
  const typing = (element) => element.closest("input, select, textarea, [contenteditable]");

  // --- light or dark ---------------------------------------------------------------------------------
  document.querySelector("[data-theme-switch]")?.addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* this page only */ }
    document.dispatchEvent(new Event("theme"));
  });

  // --- keys ------------------------------------------------------------------------------------------
  const keys = document.getElementById("keys");
  document.querySelector("[data-keys]")?.addEventListener("click", () => keys.showModal());
  let leader = 0;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "/") {
      event.preventDefault();
      document.getElementById("find")?.focus();
    } else if (event.key === "?") {
      keys?.showModal();
    } else if (event.key === "g") {
      leader = event.timeStamp;
    } else if (leader && event.timeStamp - leader < 1500) {
      leader = 0;
      document.querySelector(`.nav a[data-key="${CSS.escape(event.key)}"]`)?.click();
    } else if (event.key === "j" || event.key === "k") {
      const links = [...document.querySelectorAll("table.rows tbody tr")]
        .map((row) => row.querySelector("a")).filter(Boolean);
      const at = links.indexOf(document.activeElement);
      const next = event.key === "j" ? Math.min(at + 1, links.length - 1) : Math.max(at - 1, 0);
      links[next]?.focus();
    }
  });

  // --- forms with choices: a length is asked for only where it means something -------------------------
  for (const field of document.querySelectorAll("[data-for]")) {
    const form = field.closest("form");
    const show = () => {
      field.hidden = form.querySelector("input[type=radio]:checked")?.value !== field.dataset.for;
    };
    form.addEventListener("change", show);
    show();
  }

  // --- a form is sent once ---------------------------------------------------------------------------
  document.addEventListener("submit", (event) => {
    if (event.target.method !== "post") return;
    if (event.target.dataset.sent) event.preventDefault();
    event.target.dataset.sent = "1";
  });
  addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });

  // --- times grow older --------------------------------------------------------------------------------
  const say = (seconds) => {
    const far = Math.abs(seconds);
    if (far < 5) return "just now";
    for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
      if (far >= 2 * size || far === size) return [Math.floor(far / size), unit].join(" ");
    }
    return far >= 60 ? `${Math.floor(far / 60)} min` : `${far} s`;
  };
  setInterval(() => {
    for (const time of document.querySelectorAll("time[datetime]")) {
      const seconds = Math.round((Date.now() - Date.parse(time.dateTime)) / 1000);
      const words = say(seconds);
      const text = words === "just now" ? words : seconds > 0 ? `${words} ago` : `in ${words}`;
      if (time.textContent !== text) time.textContent = text;
    }
  }, 10000);

  // --- charts by decision --------------------------------------------------------------------------------
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  class Chart {
    constructor(place) {
      this.place = place;
      this.window = place.dataset.window;
      this.live = document.querySelector("[data-live]");
      for (const tab of document.querySelectorAll("[data-window-of='chart']")) {
        tab.addEventListener("click", () => this.choose(tab));
      }
      document.addEventListener("theme", () => this.draw(true));
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw(true));
      new ResizeObserver(() => this.plot?.setSize(this.size())).observe(place);
      document.addEventListener("visibilitychange", () => { if (!document.hidden) this.poll(); });
      setInterval(() => { if (!document.hidden) this.poll(); }, EVERY);
      this.poll();
    }

    choose(tab) {
      for (const other of tab.parentElement.children) other.setAttribute("aria-pressed", other === tab);
      this.window = tab.value;
      this.poll();
    }

    async poll() {
      const window_ = this.window;
      try {
        const of = this.place.dataset.account ? `&account=${encodeURIComponent(this.place.dataset.account)}` : "";
        const answer = await fetch(`/api/v1/stats?window=${window_}${of}`, { headers: { accept: "application/json" } });
        if (answer.status === 401) { location.assign(`/login?next=${encodeURIComponent(location.pathname)}`); return; }
        if (!answer.ok) throw new Error(answer.status);
        const stats = await answer.json();
        if (window_ !== this.window) return;
        this.stats = stats;
        this.draw(this.drawn !== window_);
        this.drawn = window_;
        this.tell();
      } catch {
        this.live?.classList.add("stale");
        if (this.live) this.live.textContent = "no answer, trying again";
      }
    }

    tell() {
      if (this.live) {
        this.live.classList.remove("stale");
        this.live.textContent = "live";
      }
      for (const [action] of ACTIONS) {
        const tile = document.querySelector(`[data-total="${action}"]`);
        if (tile) tile.textContent = this.stats.totals[action].toLocaleString("en").replaceAll(",", "\u202f");
      }
      this.place.setAttribute("aria-label", "Messages by decision: "
        + ACTIONS.map(([action, word]) => `${this.stats.totals[action]} ${word}`).join(", "));
    }

    size() {
      return { width: this.place.clientWidth, height: innerWidth < 700 ? 200 : 250 };
    }

    // Stacked bars: each series is drawn from zero to the sum of those below it, the topmost first.
    stacked() {
      const { at, series } = this.stats;
      const sums = at.map(() => 0);
      const stacks = ACTIONS.map(([action]) => series[action].map((count, index) => (sums[index] += count)));
      return [at, ...stacks.reverse()];
    }

    draw(fresh) {
      if (!this.stats) return;
      const data = this.stacked();
      if (this.plot && !fresh) { this.plot.setData(data); return; }
      this.plot?.destroy();
      const axis = { stroke: colour("soft"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 } };
      const order = [...ACTIONS].reverse();
      const bars = uPlot.paths.bars({ size: [0.9, 40], gap: 1 });
      this.plot = new uPlot({
        ...this.size(),
        cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
        legend: { live: true },
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
        scales: { y: { range: (_, low, high) => [0, Math.max(high * 1.08, 4)] } },
        axes: [
          { ...axis, values: [
            [86400, "{MMM} {D}", null, null, null, null, null, null, 1],
            [3600, "{HH}:{mm}", "\n{MMM} {D}", null, "\n{MMM} {D}", null, null, null, 1],
            [60, "{HH}:{mm}", "\n{MMM} {D}", null, "\n{MMM} {D}", null, null, null, 1],
            [1, ":{ss}", "\n{HH}:{mm}", null, "\n{HH}:{mm}", null, null, null, 1],
          ] },
          { ...axis, size: 56, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6] },
        ],
        series: [
          { label: "UTC", value: "{MMM} {D} {HH}:{mm}" },
          ...order.map(([action, word]) => ({
            label: word,
            fill: colour(action),
            stroke: colour(action),
            width: 0,
            paths: bars,
            points: { show: false },
            value: (_, __, ___, index) => (index === null ? this.stats.totals[action] : this.stats.series[action][index]),
          })),
        ],
      }, data, this.place);
    }
  }
  for (const place of document.querySelectorAll("[data-chart]")) new Chart(place);
})();
