// The page for people: footprints on a map, a search, one item with its picture and its pixels, and how sources stand.
// It asks the same API as everybody: /stac, /raster, /features and /api/sources.

import { drawLand, empty, STYLE_LAYERS } from "./land.js";

const PAGE_SIZE = 100;
const byId = (id) => document.getElementById(id);
const message = (text) => { byId("message").textContent = text; };
let key = sessionStorage.getItem("key");
let next = null;
const found = new Map();

class NeedsKey extends Error {}

function headers() {
  return key ? { "X-API-Key": key } : {};
}

async function ask(path, body) {
  const options = body
    ? { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json", ...headers() } }
    : { headers: headers() };
  const answer = await fetch(path, options);
  if (answer.status === 401 || answer.status === 403) {
    byId("key-form").hidden = false;
    throw new NeedsKey("This server requires an API key.");
  }
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw new Error(problem.detail || problem.title || `${path} answered ${answer.status}`);
  }
  return answer;
}

const askJson = async (path, body) => (await ask(path, body)).json();

async function guarded(work) {
  try {
    await work();
  } catch (error) {
    message(error.message);
  }
}

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  return made;
}

// --- the map

const map = new maplibregl.Map({
  container: "map",
  style: {
    version: 8,
    sources: { land: { type: "geojson", data: empty }, footprints: { type: "geojson", data: empty, promoteId: "key" } },
    layers: [
      ...STYLE_LAYERS,
      { id: "areas", type: "fill", source: "footprints", paint: { "fill-color": "#d1495b", "fill-opacity": 0.12 } },
      {
        id: "outlines", type: "line", source: "footprints",
        paint: { "line-color": "#d1495b", "line-width": ["case", ["boolean", ["feature-state", "chosen"], false], 4, 1.5] },
      },
    ],
  },
  center: [0, 20],
  zoom: 1.2,
  attributionControl: false,
  transformRequest: (url) => (url.startsWith(location.origin) ? { url, headers: headers() } : { url }),
});
map.addControl(new maplibregl.NavigationControl({ showCompass: false }), "top-right");
map.addControl(new maplibregl.ScaleControl(), "bottom-right");
const loaded = new Promise((done) => { map.on("load", done); });

function drawFootprints() {
  const features = [...found.entries()].filter(([, item]) => item.geometry)
    .map(([name, item]) => ({ type: "Feature", geometry: item.geometry, properties: { key: name } }));
  map.getSource("footprints").setData({ type: "FeatureCollection", features });
}

map.on("click", "areas", (event) => choose(event.features[0].properties.key, { moves: false }));
map.on("mouseenter", "areas", () => { map.getCanvas().style.cursor = "pointer"; });
map.on("mouseleave", "areas", () => { map.getCanvas().style.cursor = ""; });

// --- search

function question() {
  const asked = { limit: PAGE_SIZE };
  const words = byId("words").value.trim();
  if (words) {
    asked["filter-lang"] = "cql2-json";
    const pattern = `%${words.replace(/[\\%_]/g, "\\$&")}%`;
    asked.filter = { op: "like", args: [{ property: "id" }, pattern] };
  }
  if (byId("collection").value) asked.collections = [byId("collection").value];
  const [from, to] = [byId("from").value, byId("to").value];
  if (from || to) asked.datetime = `${from ? `${from}T00:00:00Z` : ".."}/${to ? `${to}T23:59:59Z` : ".."}`;
  if (byId("in-view").checked) {
    const view = map.getBounds();
    asked.bbox = [Math.max(-180, view.getWest()), Math.max(-90, view.getSouth()), Math.min(180, view.getEast()), Math.min(90, view.getNorth())];
  }
  return asked;
}

async function search(body, { goesOn = false } = {}) {
  const answer = await askJson("/stac/search", body);
  if (!goesOn) {
    found.clear();
    byId("items").replaceChildren();
  }
  for (const item of answer.features) {
    const name = `${item.collection}/${item.id}`;
    found.set(name, item);
    const button = element("button", item.id, { type: "button", "data-key": name });
    button.append(element("small", `${when(item)} · ${item.collection}`));
    button.addEventListener("click", () => choose(name, { moves: true }));
    const line = document.createElement("li");
    line.append(button);
    byId("items").append(line);
  }
  const link = answer.links.find((each) => each.rel === "next");
  next = link ? { ...body, ...link.body } : null;
  byId("more").hidden = next === null;
  const matched = answer.numberMatched ?? answer.numMatched;
  message(found.size ? `${found.size.toLocaleString()} items${matched ? ` of ${matched.toLocaleString()}` : ""}` : "No item matches.");
  drawFootprints();
}

function when(item) {
  const { datetime, start_datetime: start, end_datetime: end } = item.properties;
  return datetime ? datetime.slice(0, 10) : `${(start || "").slice(0, 10)} to ${(end || "").slice(0, 10)}`;
}

// --- one item

let chosen = null;

async function choose(name, { moves }) {
  const item = found.get(name);
  if (!item) return;
  if (chosen) map.setFeatureState({ source: "footprints", id: chosen }, { chosen: false });
  chosen = name;
  map.setFeatureState({ source: "footprints", id: name }, { chosen: true });
  for (const button of byId("items").querySelectorAll("button")) button.setAttribute("aria-current", button.dataset.key === name);
  byId("card").hidden = false;
  byId("card-title").textContent = item.id;
  showFacts(item);
  byId("item-link").href = `/stac/collections/${encodeURIComponent(item.collection)}/items/${encodeURIComponent(item.id)}`;
  if (moves) {
    byId("card-title").focus();
    const [west, south, east, north] = item.bbox;
    map.fitBounds([[west, south], [east < west ? east + 360 : east, north]], { padding: 60, maxZoom: 14, animate: false });
  }
  await guarded(() => Promise.all([showPreview(item), showTiles(item)]));
}

function showFacts(item) {
  const told = item.properties;
  const facts = {
    When: when(item), Collection: item.collection, Source: told["geo_assets:source"], Blob: told["geo_assets:blob"],
    CRS: told["proj:code"], Shape: (told["proj:shape"] || []).join(" x "), Assets: Object.keys(item.assets).join(", "),
  };
  byId("facts").replaceChildren();
  for (const [name, value] of Object.entries(facts)) if (value) byId("facts").append(element("dt", name), element("dd", value));
}

const linkOf = (item, rel) => item.links.find((each) => each.rel === rel)?.href;
const here = (address) => { const { pathname, search: query } = new URL(address); return pathname + query; };

async function showPreview(item) {
  const picture = byId("preview");
  picture.hidden = true;
  const address = linkOf(item, "preview");
  if (!address) return;
  const answer = await ask(here(address));
  if (chosen !== `${item.collection}/${item.id}`) return;
  URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(await answer.blob());
  picture.alt = `Picture of ${item.id}`;
  picture.hidden = false;
}

async function showTiles(item) {
  if (map.getLayer("pixels")) map.removeLayer("pixels");
  if (map.getSource("pixels")) map.removeSource("pixels");
  const address = item && linkOf(item, "tilejson");
  if (!address || !byId("tiles").checked) return;
  const tiles = await askJson(here(address));
  if (chosen !== `${item.collection}/${item.id}` || map.getSource("pixels")) return;
  const templates = tiles.tiles.map((each) => location.origin + decodeURI(here(each)));
  map.addSource("pixels", { type: "raster", tiles: templates, tileSize: 256, bounds: tiles.bounds, minzoom: tiles.minzoom, maxzoom: tiles.maxzoom });
  map.addLayer({ id: "pixels", type: "raster", source: "pixels" }, "outlines");
}

// --- sources and vector layers

async function showSources() {
  const { sources } = await askJson("/api/sources");
  byId("sources").replaceChildren();
  for (const source of sources) {
    const line = element("li", "");
    line.append(element("strong", source.source), ` ${source.blobs.toLocaleString()} blobs, ${source.catalogued.toLocaleString()} catalogued, ${source.pending.toLocaleString()} pending `);
    if (source.quarantined) line.append(element("span", `${source.quarantined.toLocaleString()} quarantined `, { class: "failures" }));
    if (source.trouble) line.append(element("span", `cannot be listed: ${source.trouble.message} (${source.trouble.code}) `, { class: "failures" }));
    line.append(element("a", "runs", { href: source.dagster, rel: "noreferrer", "aria-label": `Runs of ${source.source} in Dagster` }));
    if (source.failures.length) {
      const details = document.createElement("details");
      details.append(element("summary", "reasons"));
      for (const failure of source.failures) details.append(element("p", `${failure.name}: ${failure.message} (${failure.code})`));
      line.append(details);
    }
    byId("sources").append(line);
  }
}

async function showLayers() {
  const { collections } = await askJson("/features/collections?limit=100");
  byId("layers").replaceChildren();
  for (const collection of collections) {
    const box = element("input", "", { type: "checkbox" });
    box.addEventListener("change", () => showLayer(collection, box.checked));
    const label = element("label", "", { class: "check" });
    label.append(box, collection.title || collection.id);
    const line = document.createElement("li");
    line.append(label);
    byId("layers").append(line);
  }
  if (!collections.length) byId("layers").append(element("li", "none yet"));
}

function showLayer(collection, isShown) {
  const name = `table ${collection.id}`;
  if (!isShown) {
    for (const kind of ["fill", "line", "circle"]) map.removeLayer(`${name} ${kind}`);
    map.removeSource(name);
    return;
  }
  const template = `${location.origin}/features/collections/${encodeURIComponent(collection.id)}/tiles/WebMercatorQuad/{z}/{x}/{y}`;
  map.addSource(name, { type: "vector", tiles: [template], maxzoom: 14 });
  const paints = {
    fill: [["==", ["geometry-type"], "Polygon"], { "fill-color": "#30638e", "fill-opacity": 0.2 }],
    line: [["!=", ["geometry-type"], "Point"], { "line-color": "#30638e", "line-width": 1.2 }],
    circle: [["==", ["geometry-type"], "Point"], { "circle-color": "#30638e", "circle-radius": 4 }],
  };
  for (const [kind, [filter, paint]] of Object.entries(paints)) {
    map.addLayer({ id: `${name} ${kind}`, type: kind, source: name, "source-layer": "default", filter, paint });
  }
}

async function showCollections() {
  const { collections } = await askJson("/stac/collections?limit=1000");
  for (const collection of collections) byId("collection").append(element("option", collection.title || collection.id, { value: collection.id }));
}

// --- what people do

byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  guarded(() => search(question()));
});
byId("more").addEventListener("click", () => guarded(() => search(next, { goesOn: true })));
byId("tiles").addEventListener("change", () => guarded(() => showTiles(found.get(chosen))));
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key = byId("key").value;
  sessionStorage.setItem("key", key);
  byId("key-form").hidden = true;
  start();
});

async function start() {
  await loaded;
  await guarded(() => Promise.all([search(question()), showCollections(), showSources(), showLayers()]));
  document.body.dataset.ready = "true";
}

drawLand(map);
start();
