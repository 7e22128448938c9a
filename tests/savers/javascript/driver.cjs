// LangGraph.js' Redis savers: `node driver.cjs full|shallow write|read|delete URL AT THREAD...`, packages in NODE_PATH.
//
// write: two checkpoints of each thread, dated AT (ISO 8601), each with channels, metadata and pending writes.
// read: what the saver gives of each thread, as one line of JSON.
// delete: what the saver itself deletes.
"use strict";

const { emptyCheckpoint, uuid6 } = require("@langchain/langgraph-checkpoint");
const { RedisSaver } = require("@langchain/langgraph-checkpoint-redis");
const { ShallowRedisSaver } = require("@langchain/langgraph-checkpoint-redis/shallow");

async function write(saver, thread, at) {
  let config = { configurable: { thread_id: thread, checkpoint_ns: "" } };
  for (const step of [0, 1]) {
    const checkpoint = {
      ...emptyCheckpoint(),
      id: uuid6(step),
      ts: at,
      channel_values: { messages: ["said"], user_id: "user:1", step },
      channel_versions: { messages: 1, user_id: 1, step: step + 1 },
    };
    const metadata = { source: "loop", step, parents: {}, user_id: "user:1" };
    const fresh = step === 0 ? checkpoint.channel_versions : { step: step + 1 };
    config = await saver.put(config, checkpoint, metadata, fresh);
    await saver.putWrites(config, [["messages", ["pending"]], ["step", step]], "task-1");
    await saver.putWrites(config, [["__interrupt__", { value: "may I?" }]], "task-2");
  }
}

async function read(saver, thread) {
  const config = { configurable: { thread_id: thread, checkpoint_ns: "" } };
  const latest = await saver.getTuple(config);
  const history = [];
  for await (const each of saver.list(config)) {
    history.push(each);
  }
  return { latest: latest ?? null, history };
}

async function main([kind, action, url, at, ...threads]) {
  const saver = await (kind === "full" ? RedisSaver : ShallowRedisSaver).fromUrl(url);
  const found = {};
  for (const thread of threads) {
    if (action === "write") {
      await write(saver, thread, at);
    } else if (action === "delete") {
      await saver.deleteThread(thread);
    } else {
      found[thread] = await read(saver, thread);
    }
  }
  console.log(JSON.stringify(found));
  await saver.end();
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
