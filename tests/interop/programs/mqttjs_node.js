// node mqttjs_node.js URL VERSION: prints what arrived, a line each. MQTT.js is looked for where NODE_PATH says.
const work = require("./mqttjs_work.js");

work(require("mqtt"), process.argv[2], Number(process.argv[3])).then(
  (arrived) => console.log(arrived.join("\n")),
  (error) => {
    console.error(error.message);
    process.exit(1);
  },
);
