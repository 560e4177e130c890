// A web server of Node.js; arguments: its port, and a folder of files. Run by tests.
const fs = require("fs");
const http = require("http");
const zlib = require("zlib");

http.createServer((request, response) => {
  const path = request.url;
  if (path === "/chunks") {
    for (const piece of ["one ", "two "]) response.write(piece);
    response.end("three");
  } else if (path === "/echo") {
    request.pipe(response);
  } else if (path === "/nothing") {
    response.writeHead(204).end();
  } else {
    const body = fs.readFileSync(`${process.argv[3]}/${path.split("/")[2]}`);
    const packed = path.startsWith("/files/") && /gzip/.test(request.headers["accept-encoding"]);
    response.setHeader("ETag", '"one"');
    if (packed) response.setHeader("Content-Encoding", "gzip");
    if (request.headers["if-none-match"] === '"one"') response.writeHead(304).end();
    else if (packed) response.end(zlib.gzipSync(body));
    else response.writeHead(200, {"Content-Length": body.length}).end(body);
  }
}).listen(Number(process.argv[2]), "127.0.0.1");
