// Where the page comes to life: what is picked, which links lead where, and who is told.

const LIVE = {
  circuits: circuitParts,
  paths: pathParts,
  steering: steeringParts,
  units: unitParts,
  models: comparisonParts,
  check: checkParts,
};

start();

function start() {
  // Without it nothing that is packed can be read: the page stays as it reads without scripts.
  if (typeof DecompressionStream === "undefined") return;
  document.documentElement.classList.add("js");
  const data = readData();
  const app = {
    data, study: 0, score: data.default_score, head: null, watchers: [],
    watch(watcher) {
      this.watchers.push(watcher);
    },
    tell() {
      return Promise.all(this.watchers.map((watcher) => watcher()));
    },
    pickScore(score) {
      this.score = score;
      return this.tell();
    },
    pick(study) {
      history.replaceState(null, "", linkTo(data.studies[study]));
      return this.go({ study, head: null });
    },
    open(head) {
      history.pushState(null, "", linkTo(data.studies[this.study], head));
      return this.go({ study: this.study, head });
    },
    close() {
      const { head } = this;
      history.pushState(null, "", linkTo(data.studies[this.study]));
      return this.go({ study: this.study, head: null }).then(() => focusCell(head));
    },
  };
  startTheme(document.getElementById("tools"));
  startTerms(glossaryOf(data));
  startTables();
  if (data.studies.length) startStudies(app);
}

function startStudies(app) {
  const explore = document.getElementById("explore");
  const section = document.getElementById("head");
  const showHead = section ? startHead(app, section) : null;
  app.go = async ({ study, head }) => {
    const moved = study !== app.study;
    Object.assign(app, { study, head });
    if (moved) await app.tell();
    else markCell(head);
    if (!section) return;
    await showHead();
    if (head) {
      section.focus({ preventScroll: true });
      section.scrollIntoView({ block: "start" });
    }
  };
  const follow = () => {
    const route = routeOf(location.hash, app.data.studies);
    if (!route) return;
    app.go(route);
    if (!route.head) document.getElementById("map")?.scrollIntoView();
  };
  window.addEventListener("hashchange", follow);
  const route = routeOf(location.hash, app.data.studies);
  app.study = route?.study ?? 0;
  const first = explore ? startMap(app, explore) : Promise.resolve();
  for (const place of document.querySelectorAll("[data-live]")) {
    const parts = LIVE[place.dataset.live];
    if (parts) app.watch(liveSection(app, place, parts));
  }
  first.then(() => route && follow());
}

/** Fill a section when it comes near, and again when something else is picked. */
function liveSection(app, place, parts) {
  const follows = !["models", "check"].includes(place.dataset.live);
  let near = false;
  const draw = () => {
    if (!near) return;
    const made = parts(app).flat();
    const pickers = follows ? el("div", { class: "pickers" }, studyPickers(app)) : null;
    if (!follows) fill(place, made);
    else fill(place, pickers, made.length ? made : el("p", {}, "Nothing of this model and emotion is stored."));
  };
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    near = true;
    draw();
  }, { rootMargin: "600px" }).observe(place);
  return keepingFocus(place, follows ? draw : () => {});
}

/** Draw anew, and give the focus back to the choice that had it. */
function keepingFocus(place, draw) {
  return async () => {
    const at = [...place.querySelectorAll("select")].indexOf(document.activeElement);
    await draw();
    if (at >= 0) place.querySelectorAll("select")[at]?.focus();
  };
}

function markCell(head) {
  for (const cell of document.querySelectorAll("table.heads td[data-head]")) {
    cell.setAttribute("aria-selected", cell.dataset.head === head ? "true" : "false");
  }
}

function focusCell(head) {
  const cell = [...document.querySelectorAll("table.heads td[data-head]")].find((each) => each.dataset.head === head);
  cell?.focus();
}

/** Return what is explained where it stands: columns, and scores under names of their own. */
function glossaryOf(data) {
  const scores = data.scores.map((score) => [`score:${score.id}`, score]);
  return Object.assign(Object.create(null), data.glossary, Object.fromEntries(scores));
}
