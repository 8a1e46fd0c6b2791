// How do the rows of a diagram get into the browser and out of it again? Only what is new travels; see flow_view.py.
export default {
  props: { client: String, most: Number },
  template: `
    <div class="flow">
      <div class="flow-heads" aria-hidden="true">
        <span></span><span class="flow-ends"><b>{{ client }}</b><b>broker</b></span><span></span><span></span>
      </div>
      <div class="flow-rows" ref="list" :role="rows.length ? 'listbox' : null" tabindex="0"
        aria-label="Packets, the latest last" :aria-activedescendant="chosen ? 'flow-' + chosen : null"
        @keydown="key" @scroll.passive="scrolled">
        <div v-for="row in rows" :key="row.key" v-memo="[row.key === chosen]" :id="'flow-' + row.key" role="option" class="flow-row"
          :class="[row.kind, { in: row.to_broker, no: row.refused, chosen: row.key === chosen }]"
          :aria-selected="row.key === chosen ? 'true' : 'false'" :aria-label="spoken(row)" @click="choose(row)">
          <span class="flow-time figure"><span>{{ row.clock }}</span><span class="faint">{{ row.since }}</span></span>
          <span class="flow-way">
            <span class="flow-label">
              <b>{{ row.name }}</b>
              <span v-if="row.identifier" class="flow-id figure" :style="colour(row.colour)">#{{ row.identifier }}</span>
              <span v-for="mark in row.marks" class="flow-mark">{{ mark }}</span>
              <span class="flow-said">{{ row.said }}</span>
              <span class="flow-size faint figure">{{ row.size }}</span>
            </span>
            <span v-if="row.kind === 'packet'" class="flow-arrow" :style="colour(row.colour)"></span>
          </span>
          <span class="flow-lanes">
            <i v-for="each in row.brackets" :class="each.part"
              :style="[colour(each.colour), { left: each.lane * 16.67 + '%' }]"></i>
          </span>
          <span class="flow-took figure">{{ row.took }}</span>
        </div>
      </div>
      <button v-if="!following" class="flow-latest" @click="follow">Latest ↓</button>
    </div>`,
  data() {
    return { rows: [], chosen: 0, following: true };
  },
  created() {
    this.last = 0;
  },
  methods: {
    add(rows) {
      const added = rows.map((row) => Object.freeze({ ...row, key: ++this.last }));
      this.rows = [...this.rows, ...added].slice(-this.most);
      if (this.following) this.$nextTick(this.follow);
    },
    replace(rows) {
      const number = this.rows.find((row) => row.key === this.chosen)?.number;
      this.rows = [];
      this.following = true;
      this.add(rows);
      this.chosen = this.rows.find((row) => number && row.number === number)?.key ?? 0;
    },
    choose(row) {
      this.chosen = row?.number ? row.key : 0;
      if (this.chosen) this.following = false; // what is read shall not run away
      this.$emit("choose", row?.number ?? 0);
    },
    see() {
      this.$nextTick(() => document.getElementById("flow-" + this.chosen)?.scrollIntoView({ block: "nearest" }));
    },
    leave() {
      this.chosen = 0;
      this.$refs.list.focus();
    },
    key(event) {
      const packets = this.rows.filter((row) => row.number);
      const at = packets.findIndex((row) => row.key === this.chosen);
      const last = packets.length - 1;
      const to = {
        ArrowDown: Math.min(at + 1, last),
        ArrowUp: at < 0 ? last : Math.max(at - 1, 0),
        Home: 0,
        End: last,
        Escape: -1,
      }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      this.choose(packets[to]);
    },
    scrolled() {
      const list = this.$refs.list;
      const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 12;
      this.following = atEnd && (this.following || !this.chosen);
    },
    follow() {
      this.following = true;
      const list = this.$refs.list;
      if (list) list.scrollTop = list.scrollHeight;
    },
    colour(number) {
      return number < 0 ? {} : { "--own": "var(--flow-" + number + ")" };
    },
    spoken(row) {
      const way = row.kind === "packet" ? (row.to_broker ? "client to broker" : "broker to client") : "";
      const identifier = row.identifier ? "packet identifier " + row.identifier : "";
      const took = row.took ? "took " + row.took : "";
      const parts = [row.clock, way, row.name, identifier, ...row.marks, row.said, row.size, took];
      return parts.filter(Boolean).join(", ");
    },
  },
};
