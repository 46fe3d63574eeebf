// Dose curves of steering, and the texts of a dose.

/** Return what fills the section of steering for the picked study. */
function steeringParts(app) {
  const at = app.data.studies[app.study];
  const found = (app.data.steering ?? []).filter((each) => each.study === app.study);
  return found.map((steering) => switched("Place", steering.places.map((each) => each.place), (name) => {
    const place = steering.places.find((each) => each.place === name);
    const [first, ...others] = steering.metrics;
    const second = others.includes("fluency") ? "fluency" : others[0];
    return el("div", {},
      el("div", { class: "columns" },
        switched("Metric", steering.metrics, (metric) => doseFigure(at, place, metric), first),
        second ? switched("Another metric", steering.metrics, (metric) => doseFigure(at, place, metric), second) : null),
      legend(sidesOf(place).map(([, text]) => text), "s"),
      steering.blob ? steeredTexts(at, steering, place) : null);
  }));
}

function sidesOf(place) {
  const keys = new Map();
  for (const dose of place.doses) {
    const words = dose.direction === "random" ? "a random direction" : `the ${dose.direction}'s direction`;
    keys.set(`${dose.direction}|${dose.on}`, named(`${words} on ${dose.on} prompts`));
  }
  return [...keys];
}

function doseFigure(at, place, metric) {
  const series = sidesOf(place).map(([key, name]) => ({
    name,
    points: place.doses
      .filter((dose) => `${dose.direction}|${dose.on}` === key && dose.values[metric])
      .map((dose) => ({ x: dose.alpha, y: dose.values[metric][0], low: dose.values[metric][1], high: dose.values[metric][2] }))
      .sort((a, b) => a.x - b.x),
  }));
  return figure({
    name: `steering_${at.model}_${at.emotion}_${place.place}_${metric}`, most: 700,
    caption: `${named(at.model, 40)}, ${named(at.emotion, 40)}, at ${named(place.place, 40)}: ${metric} by dose, with 95 % CI; dose 1 adds what separates the sides.`,
    draw: (width) => curves(width, { series, x: "dose, α", y: metric, text: `${metric} by dose of steering` }),
    data: () => [["on", "direction", "alpha", metric, "low", "high"],
      place.doses.map((dose) => [dose.on, dose.direction, dose.alpha, ...(dose.values[metric] ?? [null, null, null])])],
  });
}

function steeredTexts(at, steering, place) {
  const box = el("details", {}, el("summary", {}, "Texts of each dose"));
  box.addEventListener("toggle", async () => {
    if (!box.open || box.childElementCount > 1) return;
    const blob = await readBlob(steering.blob);
    const texts = (blob?.texts ?? []).filter((each) => each.place === place.place);
    const title = (each) => `${each.direction === "random" ? "random" : each.direction} direction, α ${tick(each.alpha)}, ${each.on} prompts`;
    const titles = texts.map(title);
    const first = texts.findIndex((each) =>
      each.on === "neutral" && each.direction === "emotion" && each.alpha === (place.largest ?? 1));
    box.append(texts.length
      ? switched("Dose", titles, (name) => {
        const of = texts[titles.indexOf(name)];
        return beforeAfter({ rows: of.rows, prompts: blob.prompts[of.on], clean: blob.clean?.[of.on] });
      }, titles[Math.max(0, first)])
      : el("p", {}, "The texts of this place are not in the page."));
  });
  return box;
}
