// Plays Amazon SQS: node server.js DIRECTORY PORT QUEUE DEAD_LETTER_QUEUE
//
// DIRECTORY: where `npm ci` installed what package.json names. Listens on 127.0.0.1. All is kept in
// memory. Prints one line when it is ready.
"use strict";

const { createServer } = require("node:http");
const { createRequire } = require("node:module");

const [directory, port, queue, deadLetterQueue] = process.argv.slice(2);
const { createRequestHandler } = createRequire(`${directory}/`)("local-aws-sqs");

const HOST = "127.0.0.1";
const REGION = "us-east-1";
const ACCOUNT = "123456789012";

const { service, requestHandler } = createRequestHandler({
  port: Number(port),
  hostname: HOST,
  region: REGION,
  accountId: ACCOUNT,
  emulateQueueCreationLifecycle: false,
  queues: [
    { QueueName: deadLetterQueue, Attributes: { MessageRetentionPeriod: 1209600 } },
    {
      QueueName: queue,
      Attributes: {
        MessageRetentionPeriod: 86400,
        RedrivePolicy: JSON.stringify({
          deadLetterTargetArn: `arn:aws:sqs:${REGION}:${ACCOUNT}:${deadLetterQueue}`,
          // This server counts every heartbeat as a delivery: no limit one could reach.
          maxReceiveCount: 1000,
        }),
      },
    },
  ],
});

// Where local-aws-sqs differs from SQS in what matters to us, it is mended here.
const Queue = Object.getPrototypeOf(service.Queues[0]);
const { receive, delete: remove, getAttributes } = Queue;
const deliveries = new Map();

// SQS answers a long poll as soon as there is one message, not only when there are all that were
// asked for; and it does not count changes of the visibility as deliveries.
Queue.receive = async function (request) {
  const until = Date.now() + 1000 * Number(request.WaitTimeSeconds ?? 0);
  let records;
  do {
    records = await receive.call(this, { ...request, WaitTimeSeconds: 0 });
  } while (records.length === 0 && Date.now() < until);
  for (const record of records) {
    const count = (deliveries.get(record.MessageId) ?? 0) + 1;
    deliveries.set(record.MessageId, count);
    record.attributes.ApproximateReceiveCount = String(count);
  }
  return records;
};

Queue.delete = function (receipt) {
  const text = Buffer.from(receipt, "base64").toString();
  deliveries.delete(/"MessageId":"([^"]*)"/.exec(text)?.[1]);
  return remove.call(this, receipt);
};

// The messages in flight are none of the visible ones.
const VISIBLE = "ApproximateNumberOfMessages";
const IN_FLIGHT = "ApproximateNumberOfMessagesNotVisible";
Queue.getAttributes = function (names) {
  const attributes = getAttributes.call(this, names);
  if (VISIBLE in attributes) {
    const inFlight = getAttributes.call(this, [IN_FLIGHT])[IN_FLIGHT];
    attributes[VISIBLE] = String(Number(attributes[VISIBLE]) - Number(inFlight));
  }
  return attributes;
};

const server = createServer(requestHandler);
server.keepAliveTimeout = 60_000;
server.listen(Number(port), HOST, () => console.log(`listening on ${HOST}:${server.address().port}`));
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => process.exit(0));
