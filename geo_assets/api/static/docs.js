// The documentation of one part of the API, drawn by Swagger UI from the schema beside the page.
// The key is the map's: it is sent to this server only.

const byId = (id) => document.getElementById(id);
const address = new URL(byId("docs").dataset.schema, location.href);
const key = () => sessionStorage.getItem("key");
const headers = () => (key() ? { "X-API-Key": key() } : {});

async function start() {
  const answer = await fetch(address, { headers: headers() });
  byId("key-form").hidden = answer.status !== 401 && answer.status !== 403;
  if (!answer.ok) return;
  SwaggerUIBundle({
    spec: await answer.json(),
    url: address.href,
    domNode: byId("docs"),
    deepLinking: true,
    validatorUrl: null,
    requestInterceptor: (request) => {
      if (new URL(request.url, location.href).origin === location.origin) Object.assign(request.headers, headers());
      return request;
    },
    onComplete: () => { document.body.dataset.ready = "true"; },
  });
}

byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", byId("key").value);
  start();
});
start();
