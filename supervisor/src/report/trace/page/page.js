"use strict";
// The page of one trace. Everything that comes from the trace is put in as text, never as markup.
(() => {
  const entries = JSON.parse(document.getElementById("data").textContent);
  const of = kind => entries.filter(entry => entry.event === kind);
  const [begin] = of("begin"), [engine] = of("engine"), [end] = of("end");
  const processes = of("process"), loads = of("load");
  loads.forEach((load, at) => { load.id = at; });
  const by = id => document.getElementById(id);
  const base = path => path ? path.split("/").pop() : "";

  const make = (tag, properties = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in element) element[name] = value; else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  };
  const bytes = size => size == null ? "" : size < 1e3 ? `${size} B` : size < 1e6 ? `${(size / 1e3).toFixed(1)} kB`
    : size < 1e9 ? `${(size / 1e6).toFixed(1)} MB` : `${(size / 1e9).toFixed(1)} GB`;
  const ms = time => `${time.toFixed(time < 10 ? 2 : 1)} ms`;

  // What is shown of a load.
  const kind = load => load.outcome !== "loaded" ? "failed" : load.provider ?? "failed";
  const origin = load => load.package
    ? [load.package.attribute ? `${load.package.attribute}.${load.package.output}` : load.package.name, load.package.version].filter(Boolean).join(" ")
    : load.provider ?? "";
  const requester = load => load.why === "needed" ? base(load.needed_by)
    : load.why === "preload" ? "LD_PRELOAD" : load.needed_by ? `dlopen by ${base(load.needed_by)}` : "dlopen";
  const RULES = {
    "rpath": load => `RPATH of ${base(load.of)}`, "runpath": load => `RUNPATH of ${base(load.of)}`,
    "library-path": () => "LD_LIBRARY_PATH", "served-cache": () => "served cache",
    "default-folder": () => "default folder", "path": () => "by its path", "redirected": () => "redirected",
  };
  const how = load => load.outcome === "loaded" && load.how ? RULES[load.how](load)
    : load.outcome === "refused" ? "refused by the loader" : load.outcome;
  const name = process => {
    const program = processes.filter(one => one.process === process).map(one => base(one.program));
    return `${[...new Set(program)].join(" → ") || "?"} [${process}]`;
  };

  // Time, with pauses shortened: what a program does between two loads is not of interest here.
  const PAUSE = 50;
  const marks = [...new Set(loads.flatMap(load => [Math.max(0, load.at_ms - load.took_ms), load.at_ms]))].sort((a, b) => a - b);
  const places = new Map();
  let place = 0;
  marks.forEach((mark, at) => {
    if (at) {
      const begun = loads.some(load => load.at_ms - load.took_ms < mark && load.at_ms >= mark && load.took_ms > PAUSE);
      place += begun ? mark - marks[at - 1] : Math.min(mark - marks[at - 1], PAUSE);
    }
    places.set(mark, place);
  });
  const share = time => 100 * places.get(time) / (place || 1);
  const start = load => share(Math.max(0, load.at_ms - load.took_ms));

  // Who is who: a name that a process's program or library needs is the library that it loaded under this name.
  const loaded = new Map(loads.map(load => [`${load.process} ${load.soname}`, load]));
  const needs = load => load.needs.map(soname => loaded.get(`${load.process} ${soname}`)).filter(Boolean);
  const users = load => loads.filter(one => one.process === load.process && one.needs.includes(load.soname));
  const programs = load => [...new Set(processes.filter(one => one.process === load.process && one.needs.includes(load.soname))
    .map(one => base(one.program)))];

  let chosen = null, shown = loads, order = { column: 0, up: true };

  const COLUMNS = [
    { title: "At", value: load => load.at_ms, text: load => ms(load.at_ms), number: true },
    { title: "Library", value: load => load.soname },
    { title: "Needed by", value: requester },
    { title: "How", value: how, kind: true },
    { title: "From", value: origin },
    ...(new Set(loads.map(load => load.process)).size < 2 ? []
      : [{ title: "Process", value: load => load.process, text: load => name(load.process) }]),
    { title: "Size", value: load => load.size ?? -1, text: load => bytes(load.size), number: true },
    { title: "Fetched", value: load => load.fetched_bytes ?? (load.realised ? 0 : -1),
      text: load => load.fetched_bytes != null ? bytes(load.fetched_bytes) : load.realised ? "yes" : "", number: true },
    { title: "Took", value: load => load.took_ms, text: load => ms(load.took_ms), number: true },
  ];

  function table() {
    const head = make("tr");
    COLUMNS.forEach((column, at) => {
      const button = make("button", { type: "button", onclick: () => {
        order = { column: at, up: order.column === at ? !order.up : true };
        show();
      } }, column.title);
      head.append(make("th", { scope: "col", className: column.number ? "number" : "" }, button));
    });
    head.append(make("th", { scope: "col", className: "bar" }, "When"));
    by("libraries").tHead.append(head);
  }

  function rows() {
    [...by("libraries").tHead.rows[0].cells].forEach((cell, at) => {
      if (at === order.column) cell.setAttribute("aria-sort", order.up ? "ascending" : "descending");
      else cell.removeAttribute("aria-sort");
    });
    const body = make("tbody");
    for (const load of shown) {
      const row = make("tr", { className: load === chosen ? "chosen" : "", "data-id": load.id, "data-kind": kind(load) });
      for (const column of COLUMNS) {
        const text = String((column.text ?? column.value)(load));
        const cell = make("td", { className: column.number ? "number" : column.kind ? "kind" : "" });
        cell.append(column.title === "Library" ? make("button", { type: "button", onclick: () => choose(load, true) }, text) : text);
        row.append(cell);
      }
      const bar = make("span");
      bar.style.marginLeft = `${start(load)}%`;
      bar.style.width = `${Math.max(0, share(load.at_ms) - start(load))}%`;
      row.append(make("td", { className: "bar", ariaHidden: "true" }, bar));
      body.append(row);
    }
    by("libraries").tBodies[0].replaceWith(body);
  }

  function timeline() {
    const lanes = [...new Set(shown.map(load => load.process))].map(process => {
      const own = shown.filter(load => load.process === process).sort((a, b) => a.at_ms - b.at_ms);
      const failed = own.filter(load => load.outcome !== "loaded").length;
      const strip = make("div", { className: "strip", tabIndex: 0, role: "slider", "aria-label": `Libraries of ${name(process)}`,
        "aria-valuemin": 1, "aria-valuemax": own.length, "aria-valuenow": Math.max(0, own.indexOf(chosen)) + 1,
        "aria-valuetext": own.includes(chosen) ? chosen.soname : `${own.length} libraries, ${failed} failed` });
      for (const load of own) {
        const mark = make("i", { title: `${load.soname}, ${ms(load.at_ms)}`, onclick: () => choose(load),
          className: load === chosen ? "chosen" : "", "data-kind": kind(load) });
        mark.style.left = `${start(load)}%`;
        mark.style.width = `${Math.max(0, share(load.at_ms) - start(load))}%`;
        strip.append(mark);
      }
      strip.onkeydown = event => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        event.preventDefault();
        const at = own.indexOf(chosen);
        choose(own[Math.min(own.length - 1, Math.max(0, at < 0 ? 0 : at + step))]);
        document.querySelector(`.strip[aria-label=${CSS.escape(strip.getAttribute("aria-label"))}]`)?.focus();
      };
      return make("div", { className: "lane" }, make("span", { title: name(process) }, `${name(process)}: ${own.length}`), strip);
    });
    by("timeline").replaceChildren(...lanes);
  }

  // A process's libraries, by how many steps they are from the program.
  const SMALL = 40;
  function graph() {
    const process = chosen?.process ?? shown[0]?.process;
    const own = loads.filter(load => load.process === process);
    const depth = new Map();
    let next = own.filter(load => load.why !== "needed" || programs(load).length);
    for (let level = 1; next.length; level++) {
      next.forEach(load => depth.set(load, level));
      next = [...new Set(next.flatMap(needs))].filter(load => !depth.has(load));
    }
    own.filter(load => !depth.has(load)).forEach(load => depth.set(load, 1));
    const columns = [make("div", { className: "column" }, make("strong", {}, name(process ?? 0)))];
    const buttons = new Map();
    for (const load of own) {
      const column = columns[depth.get(load)] ??= make("div", { className: "column" });
      const button = make("button", { type: "button", title: origin(load), "data-kind": kind(load), onclick: () => choose(load, true) }, load.soname);
      if (!shown.includes(load)) button.classList.add("out");
      buttons.set(load, button);
      column.append(button);
    }
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("aria-hidden", "true");
    by("graph").replaceChildren(svg, ...columns.filter(Boolean));
    svg.setAttribute("width", by("graph").scrollWidth);
    svg.setAttribute("height", by("graph").scrollHeight);
    for (const load of own) {
      for (const other of needs(load)) {
        const is = load === chosen || other === chosen;
        if (!is && own.length > SMALL) continue;
        const [a, b] = [buttons.get(load), buttons.get(other)];
        if (!a || !b || a === b) continue;
        const [x, y] = [a.offsetLeft + a.offsetWidth, a.offsetTop + a.offsetHeight / 2];
        const [u, v] = [b.offsetLeft, b.offsetTop + b.offsetHeight / 2];
        const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
        path.setAttribute("d", `M${x},${y} C${x + 40},${y} ${u - 40},${v} ${u},${v}`);
        if (is) {
          path.setAttribute("class", "chosen");
          a.classList.add("near");
          b.classList.add("near");
        }
        svg.append(path);
      }
    }
    buttons.get(chosen)?.classList.add("chosen");
  }

  const links = several => several.length
    ? several.flatMap((load, at) => [at ? ", " : "", make("button", { type: "button", className: "link", onclick: () => choose(load, true) }, load.soname)])
    : ["–"];

  function sentence(load) {
    const who = load.why === "needed" ? `${base(load.needed_by)} is linked against ${load.soname}.`
      : load.why === "preload" ? `LD_PRELOAD names ${load.soname}.`
        : `${load.program} opened ${load.soname} at run time${load.needed_by ? `, as ${base(load.needed_by)} announces` : ""}.`;
    const found = {
      "rpath": () => `The loader found it by the RPATH of ${base(load.of)}.`,
      "runpath": () => `The loader found it by the RUNPATH of ${base(load.of)}: its package was built against this one.`,
      "library-path": () => "The loader found it by LD_LIBRARY_PATH.",
      "served-cache": () => load.provider === "host" ? "Sonde's cache names the host's driver." : "Sonde's cache names this file for it.",
      "default-folder": () => "The loader found it where it always looks.",
      "path": () => "The loader was given its path.",
      "redirected": () => `It was asked for at ${load.of}, where it is not; Sonde returned this file.`,
    }[load.how]?.() ?? "The loader did not find it.";
    return `${who} ${found}`;
  }

  function considered(choice) {
    const list = make("ol");
    for (const one of choice.candidates) {
      const item = make("li", {}, make("strong", {}, `${one.attribute}.${one.output}`), ` ${one.name}`);
      if (one.chosen) item.append(" – taken");
      if (one.coverage) item.append(`; defines ${one.coverage.defined} of ${one.coverage.needed} symbols`);
      if (one.coverage?.missing_versions.length) item.append(`; lacks ${one.coverage.missing_versions.join(", ")}`);
      if (one.forbidden) item.append(`; forbidden by ${one.forbidden}`);
      if (one.beaten_by) item.append(`; behind ${one.behind}: ${one.beaten_by.reason}`);
      list.append(item);
    }
    return list;
  }

  function why() {
    const load = chosen, parts = [];
    const add = (...elements) => parts.push(...elements);
    add(make("p", {}, make("strong", {}, load.soname), " ", make("span", { className: "kind", "data-kind": kind(load) }, how(load))));
    add(make("p", {}, sentence(load)));
    if (load.reason) add(make("p", { className: "kind", "data-kind": load.outcome === "loaded" ? "bundled" : "failed" }, load.reason));
    const facts = make("dl");
    const fact = (term, ...what) => facts.append(make("dt", {}, term), make("dd", {}, ...what));
    fact("From", origin(load) || "–");
    if (load.path) fact("File", make("code", {}, load.path));
    if (load.package?.store_path) fact("Store path", make("code", {}, load.package.store_path));
    fact("Size", bytes(load.size) || "–");
    fact("Fetched", load.fetched_bytes != null ? bytes(load.fetched_bytes) : load.realised ? "yes" : "no, it was there");
    fact("When", `${ms(load.at_ms)}, took ${ms(load.took_ms)}`);
    fact("Process", name(load.process));
    fact("Needs", ...links(needs(load)));
    fact("Needed by", [...programs(load), ""].join(", ").replace(/, $/, users(load).length ? ", " : ""), ...links(users(load)).filter(() => users(load).length));
    add(facts);
    if (load.tried.length) {
      add(make("h3", {}, "Looked for before"));
      add(make("ol", {}, ...load.tried.map(path => make("li", {}, make("code", {}, path)))));
    }
    if (load.choice?.candidates.length) add(make("h3", {}, "Considered"), considered(load.choice));
    if (load.choice?.near_misses.length) {
      add(make("h3", {}, "Names like it"));
      add(make("ul", {}, ...load.choice.near_misses.map(near => make("li", {}, `${near.soname} (${near.kind})`))));
    }
    by("story").replaceChildren(...parts);
  }

  function choose(load, focus = false) {
    chosen = load;
    location.hash = load ? `load-${load.id}` : "";
    rows();
    timeline();
    graph();
    if (load) why();
    document.querySelector("#libraries tr.chosen")?.scrollIntoView({ block: "nearest" });
    if (focus) by("why").focus({ preventScroll: true });
  }

  function show() {
    const words = by("words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const [process, outcome, provider] = ["process", "outcome", "provider"].map(id => by(id).value);
    const column = COLUMNS[order.column];
    shown = loads.filter(load => {
      const text = [load.soname, requester(load), how(load), origin(load), load.path, load.reason].join(" ").toLowerCase();
      return words.every(word => text.includes(word)) && (!process || String(load.process) === process)
        && (!outcome || load.outcome === outcome) && (!provider || load.provider === provider);
    }).sort((a, b) => {
      const [x, y] = [column.value(a), column.value(b)];
      const difference = typeof x === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
      return (order.up ? difference : -difference) || a.id - b.id;
    });
    by("count").textContent = `${shown.length} of ${loads.length} libraries`;
    rows();
    timeline();
    graph();
  }

  function options(id, values, words = value => value) {
    by(id).append(make("option", { value: "" }, "all"));
    [...new Set(values)].forEach(value => by(id).append(make("option", { value: String(value) }, words(value))));
  }

  const when = new Date(begin.unix_time * 1000);
  const result = end.signal != null ? `ended by signal ${end.signal}` : `exit status ${end.status}`;
  by("about").textContent = [
    [base(begin.program), ...begin.arguments].join(" "), when.toLocaleString(), engine ? `engine ${engine.engine}` : "",
    result, `${end.loaded} libraries: ${end.provided} from packages, ${end.bundled} bundled, ${end.host} from the host`,
    `${end.absent + end.failed + end.forbidden + end.refused} failed`, end.fetched_bytes ? `${bytes(end.fetched_bytes)} fetched` : "",
    `sonde ${begin.version}`,
  ].filter(Boolean).join(" · ");
  options("process", loads.map(load => load.process), name);
  options("outcome", loads.map(load => load.outcome));
  options("provider", loads.map(load => load.provider).filter(Boolean));
  by("filters").oninput = show;
  by("filters").onsubmit = event => event.preventDefault();
  table();
  show();
  const linked = loads[Number(/^#load-(\d+)$/.exec(location.hash)?.[1])];
  if (linked) choose(linked);
})();
