// Servers that say whom they take for the client, each with a module that receives PROXY headers.
//
// Arguments: the port of a TCP server with proxy-protocol-js, which reads version 1 and 2; the port of a web server with
// findhit-proxywrap, which reads version 1.
'use strict';
const http = require('node:http');
const net = require('node:net');
const { ProxyProtocolIdentifier, ProxyProtocolVersion, V1ProxyProtocol, V2ProxyProtocol } = require('proxy-protocol-js');
const proxywrap = require('findhit-proxywrap');

// The module gives addresses of version 2 as octets.
function spell(octets) {
  return octets.length === 4 ? octets.join('.') : octets.toString('hex').match(/.{4}/g).join(':');
}

function client(bytes) {
  const version = ProxyProtocolIdentifier.identify(bytes);
  if (version === ProxyProtocolVersion.V1) {
    const { source } = V1ProxyProtocol.parse(bytes.toString('latin1'));
    return `v1 ${source.ipAddress}:${source.port}`;
  }
  const { sourceAddress, sourcePort } = V2ProxyProtocol.parse(bytes).proxyAddress;
  return `v2 ${spell(Buffer.from(sourceAddress.address))}:${sourcePort}`;
}

net.createServer((socket) => {
  socket.once('data', (bytes) => socket.end(`client=${client(bytes)}`));
  socket.on('error', () => socket.destroy());
}).listen(Number(process.argv[2]), '127.0.0.1');

proxywrap.proxy(http).createServer((request, response) => {
  response.end(`client=${request.socket.remoteAddress}:${request.socket.remotePort}`);
}).listen(Number(process.argv[3]), '127.0.0.1');
