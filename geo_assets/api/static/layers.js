// The map of a page of /features or /raster: an extent, the features that stand in the page, or tiles.

import { drawLand, empty, STYLE_LAYERS } from "./land.js";

const place = document.getElementById("map");
const told = place?.dataset ?? {};
const key = sessionStorage.getItem("key");
const headers = key ? { "X-API-Key": key } : {};
let made = null;
const ready = async () => {
  if (made) await new Promise((done) => { made.once("idle", done).triggerRepaint(); });
  document.body.dataset.ready = "true";
};
const are = (...types) => ["in", ["geometry-type"], ["literal", types.flatMap((each) => [each, `Multi${each}`])]];
const PAINTS = {
  fill: [are("Polygon"), { "fill-color": "#d1495b", "fill-opacity": 0.2 }],
  line: [are("Polygon", "LineString"), { "line-color": "#d1495b", "line-width": 1.5 }],
  circle: [are("Point"), { "circle-color": "#d1495b", "circle-radius": 5 }],
};

function makeMap() {
  const map = new maplibregl.Map({
    container: place,
    style: { version: 8, sources: { land: { type: "geojson", data: empty } }, layers: STYLE_LAYERS },
    center: [0, 20],
    zoom: 1,
    attributionControl: false,
    transformRequest: (url) => (url.startsWith(`${location.origin}/`) ? { url, headers } : { url }),
  });
  map.addControl(new maplibregl.NavigationControl({ showCompass: false }), "top-right");
  map.addControl(new maplibregl.ScaleControl(), "bottom-right");
  drawLand(map);
  made = map;
  return new Promise((done) => { map.on("load", () => done(map)); });
}

function draw(map, source, layer = {}) {
  map.addSource("shown", source);
  for (const [kind, [filter, paint]] of Object.entries(PAINTS)) map.addLayer({ id: kind, type: kind, source: "shown", filter, paint, ...layer });
  for (const kind of ["fill", "line", "circle"]) map.on("click", kind, (event) => showProperties(map, event));
}

// As text, whatever it says: names and values are a stranger's.
function showProperties(map, event) {
  const list = document.createElement("dl");
  for (const [name, value] of Object.entries(event.features[0].properties)) {
    list.append(Object.assign(document.createElement("dt"), { textContent: name }), Object.assign(document.createElement("dd"), { textContent: value }));
  }
  if (list.children.length) new maplibregl.Popup().setLngLat(event.lngLat).setDOMContent(list).addTo(map);
}

function fit(map, [west, south, east, north]) {
  const inMercator = (latitude) => Math.max(-85, Math.min(85, latitude));
  map.fitBounds([[west, inMercator(south)], [east < west ? east + 360 : east, inMercator(north)]], { padding: 30, maxZoom: 14, animate: false });
}

function boundsOf(geometries) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  const walk = (part) => {
    if (typeof part[0] !== "number") return part.forEach(walk);
    box[0] = Math.min(box[0], part[0]);
    box[1] = Math.min(box[1], part[1]);
    box[2] = Math.max(box[2], part[0]);
    box[3] = Math.max(box[3], part[1]);
  };
  for (const geometry of geometries) (geometry.geometries ?? [geometry]).forEach((each) => walk(each.coordinates));
  return box[0] <= box[2] ? box : null;
}

function polygonOf([west, south, east, north]) {
  const right = east < west ? east + 360 : east;
  return { type: "Polygon", coordinates: [[[west, south], [right, south], [right, north], [west, north], [west, south]]] };
}

async function showTiles() {
  const say = (text) => { document.getElementById("message").textContent = text; };
  if (told.grid !== "WebMercatorQuad") return say(`This map draws tiles of WebMercatorQuad only, not of ${told.grid}.`);
  const answer = await fetch(new URL(told.tilejson, location.href), { headers });
  const tiles = await answer.json();
  if (!answer.ok) return say(tiles.detail ?? `The server answered ${answer.status}.`);
  const map = await makeMap();
  // By the path alone: behind a proxy that hides its scheme, an address would be of another origin.
  const templates = tiles.tiles.map((each) => location.origin + decodeURI(new URL(each).pathname) + new URL(each).search);
  const source = { tiles: templates, minzoom: tiles.minzoom ?? 0, maxzoom: tiles.maxzoom ?? 14 };
  if (tiles.vector_layers) draw(map, { type: "vector", ...source }, { "source-layer": tiles.vector_layers[0].id });
  else {
    map.addSource("shown", { type: "raster", tileSize: 256, bounds: tiles.bounds, ...source });
    map.addLayer({ id: "shown", type: "raster", source: "shown" });
  }
  if (tiles.bounds) fit(map, tiles.bounds);
}

async function showFeatures(data) {
  const shown = data.features ?? [data];
  const bounds = boundsOf(shown.map((each) => each.geometry).filter(Boolean));
  const map = await makeMap();
  draw(map, { type: "geojson", data });
  if (bounds) fit(map, bounds);
}

async function show() {
  if (told.tilejson) return showTiles();
  if (told.geojson) return showFeatures(JSON.parse(document.getElementById(told.geojson).textContent));
  if (told.bbox) {
    const numbers = JSON.parse(told.bbox);
    const box = numbers.length === 6 ? [numbers[0], numbers[1], numbers[3], numbers[4]] : numbers;
    const map = await makeMap();
    draw(map, { type: "geojson", data: { type: "Feature", properties: {}, geometry: polygonOf(box) } });
    fit(map, box);
  }
}

show().finally(ready);
