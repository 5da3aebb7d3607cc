// The land of the maps, from the atlas that is shipped: no map of this server asks another for its background.

export const STYLE_LAYERS = [
  { id: "sea", type: "background", paint: { "background-color": "#e8eff3" } },
  { id: "land", type: "fill", source: "land", paint: { "fill-color": "#f7f5ef", "fill-outline-color": "#b9c4cc" } },
];
export const empty = { type: "FeatureCollection", features: [] };

// As a file of this server: the policy of the pages allows no worker that a script wrote.
maplibregl.setWorkerUrl("/static/maplibre-gl/maplibre-gl-csp-worker.js");

export async function drawLand(map) {
  const atlas = await (await fetch("/static/world-atlas/countries-110m.json")).json();
  const countries = topojson.feature(atlas, atlas.objects.countries);
  for (const { geometry } of countries.features) {
    const polygons = geometry.type === "Polygon" ? [geometry.coordinates] : geometry.coordinates;
    for (const ring of polygons.flat()) unwrap(ring);
  }
  map.getSource("land").setData(countries);
}

// The atlas has rings that cross the antimeridian, and one round the pole. A map in Mercator wants them to go on beyond 180.
function unwrap(ring) {
  for (let index = 1; index < ring.length; index += 1) {
    const step = ring[index][0] - ring[index - 1][0];
    if (Math.abs(step) > 180) ring[index] = [ring[index][0] - 360 * Math.round(step / 360), ring[index][1]];
  }
  const [[start], [end]] = [ring[0], ring[ring.length - 1]];
  if (Math.abs(end - start) > 180) ring.push([end, -90], [start, -90], [...ring[0]]);
}
