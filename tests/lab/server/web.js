// The web server of the lab: HTTP/1.1 in the clear and, over TLS, HTTP/1.1 and HTTP/2. It writes a line for each request
// that reaches it.
const [ip, key, certificate, log, root] = process.argv.slice(2);
const fs = require('fs'), path = require('path'), crypto = require('crypto');
const http = require('http'), http2 = require('http2');

function note(scheme, request) {
  const host = request.headers[':authority'] || request.headers.host;
  const secret = request.headers.authorization || '-';
  fs.appendFileSync(log, `${scheme} ${request.httpVersion} ${request.method} ${host} ${request.url} ${secret}\n`);
}

function answer(scheme) {
  return (request, response) => {
    note(scheme, request);
    const [place] = request.url.split('?');
    if (place.startsWith('/echo')) {
      response.writeHead(200, { 'content-type': 'application/octet-stream' });
      return request.pipe(response);
    }
    if (place.startsWith('/events')) {
      // The second event comes when the first was read: whoever holds it back waits for ever.
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: one\n\n');
      setTimeout(() => response.end('data: two\n\n'), 300);
      return;
    }
    if (place.startsWith('/trailers')) {
      response.writeHead(200, { 'content-type': 'text/plain', trailer: 'x-sum' });
      response.write('the page\n');
      if (response.addTrailers) response.addTrailers({ 'x-sum': '42' });
      return response.end();
    }
    fs.readFile(path.join(root, path.normalize(place)), (error, content) => {
      response.writeHead(error ? 404 : 200, { 'content-type': 'text/plain' });
      response.end(error ? 'not here\n' : content);
    });
  };
}

function upgrade(scheme) {
  return (request, socket) => {
    note(scheme, request);
    const accept = crypto.createHash('sha1')
      .update(request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
    socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
      `Sec-WebSocket-Accept: ${accept}\r\n\r\n`);
    // What comes goes back as it is.
    socket.on('data', data => socket.write(data));
    socket.on('error', () => {});
  };
}

const clear = http.createServer(answer('http'));
clear.on('upgrade', upgrade('http'));
const tls = { key: fs.readFileSync(key), cert: fs.readFileSync(certificate), allowHTTP1: true };
const secure = http2.createSecureServer(tls, answer('https'));
secure.on('upgrade', upgrade('https'));
secure.on('sessionError', () => {});
secure.on('tlsClientError', () => {});
clear.listen(0, ip, () => secure.listen(0, ip, () => {
  console.log(`${clear.address().port} ${secure.address().port}`);
}));
