// What the page carries: the data that is read at once, and blobs that are inflated when needed.

// Blobs of heads that are kept inflated; those of studies all are.
const KEPT = 24;
const inflated = new Map();

/** Return the data of the page. */
function readData() {
  return JSON.parse(document.getElementById("data").textContent);
}

/** Return the content of a blob, or null where the page has none of that name. */
function readBlob(id) {
  if (!inflated.has(id)) {
    const node = document.getElementById(id);
    inflated.set(id, node ? inflate(node.textContent.trim()) : Promise.resolve(null));
    const heads = [...inflated.keys()].filter((key) => key.includes("-L"));
    if (heads.length > KEPT) inflated.delete(heads[0]);
  }
  return inflated.get(id);
}

async function inflate(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return JSON.parse(await new Response(stream).text());
}

/** Return the link to a study or to a head of it. */
function linkTo(study, head = null) {
  const parts = [study.model, study.emotion, ...(head ? [head] : [])];
  return `#${parts.map(encodeURIComponent).join("/")}`;
}

/** Return which study and head a link leads to: null where it leads to neither. */
function routeOf(hash, studies) {
  const parts = hash.replace(/^#/, "").split("/").map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  const head = /^L\d+H\d+$/.test(parts.at(-1)) ? parts.pop() : null;
  const emotion = parts.pop();
  const study = studies.findIndex((each) => each.model === parts.join("/") && each.emotion === emotion);
  return study < 0 ? null : { study, head };
}

/** Return layer and head of a name: L3H1 is [3, 1]. */
function placeOf(head) {
  return head.match(/\d+/g).map(Number);
}

/** Return a score's value of a head in the maps of a study, or null where there is none. */
function valueOf(map, index) {
  if (typeof map?.mean?.[index] !== "number") return null;
  const of = (key) => map[key]?.[index] ?? null;
  return { mean: map.mean[index], low: of("low"), high: of("high"), q: of("q"), max_t: of("max_t") };
}

/** Return the class that colours a value: c of both signs, u from a base upwards. */
function levelOf(value, { signed, limit, base = 0 }) {
  if (typeof value !== "number") return "none";
  if (signed) {
    const share = limit ? Math.max(-1, Math.min(1, value / limit)) : 0;
    return `c${Math.round(share * 10) || 0}`;
  }
  const share = limit > base ? Math.max(0, Math.min(1, (value - base) / (limit - base))) : 0;
  return `u${Math.round(share * 10)}`;
}
