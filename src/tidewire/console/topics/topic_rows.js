// The rows of the topic tree that stand in the window. What they say comes from the broker's side, a window at a time;
// here they are only drawn, scrolled and moved about in with the keyboard.
const KEYS = ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "PageUp", "PageDown", "Home", "End", "Enter", " "];

export default {
  template: `
    <div class="topic-tree" ref="box" role="treegrid" tabindex="0" :aria-label="label" :aria-rowcount="total + 1"
         :aria-activedescendant="active" @scroll.passive="scrolled" @keydown="pressed">
      <div role="row" class="topic-head" aria-rowindex="1">
        <span role="columnheader">Topic</span><span role="columnheader">Last value</span>
        <span role="columnheader" class="topic-count">Messages</span><span role="columnheader">A second</span>
      </div>
      <div role="rowgroup" class="topic-space" :style="{ height: total * height + 'px' }">
        <div v-for="(row, index) in rows" :key="row.id" :id="'topic-' + row.id" role="row"
             :class="['topic-row', { chosen: row.id === chosen, here: row.id === cursor }]"
             :style="{ transform: 'translateY(' + (first + index) * height + 'px)', height: height + 'px',
                       '--level': row.level }"
             :aria-level="row.level + 1" :aria-rowindex="first + index + 2" :aria-selected="row.id === chosen"
             :aria-expanded="row.twig ? row.twig === 2 : undefined" @click="$emit('pick', row.id)">
          <span role="gridcell" class="topic-name">
            <span class="topic-twig" :class="{ open: row.twig === 2, none: !row.twig }" aria-hidden="true"
                  @click.stop="$emit('turn', row.id)">›</span>
            <span class="topic-text" :class="{ empty: row.empty }" :title="row.name">{{ row.name }}</span>
            <span v-if="row.topics" class="topic-topics">{{ row.topics }}</span>
          </span>
          <span role="gridcell" class="topic-value"><span v-if="row.retained" class="topic-pin" title="retained">R</span
            ><span :key="row.stamp" :class="{ fresh: row.fresh }">{{ row.value }}</span></span>
          <span role="gridcell" class="topic-count figure">{{ row.count }}</span>
          <span role="gridcell" class="topic-rate figure" :class="{ still: row.still }">{{ row.rate }}</span>
        </div>
      </div>
    </div>`,
  props: {
    label: String,
    rows: Array,
    first: Number,
    total: Number,
    chosen: Number,
    cursor: Number,
    place: Number, // the row that the cursor is in
    moved: Number, // goes up when the cursor has been moved by a key
  },
  data: () => ({ height: 34, waiting: false, told: "" }),
  computed: {
    active() {
      return this.rows.some((row) => row.id === this.cursor) ? "topic-" + this.cursor : undefined;
    },
  },
  watch: {
    moved() {
      this.$nextTick(this.reveal);
    },
  },
  mounted() {
    this.narrow = window.matchMedia("(max-width: 599px)");
    this.measure = () => {
      this.height = this.narrow.matches ? 52 : 34;
      this.scrolled();
    };
    this.narrow.addEventListener("change", this.measure);
    this.watcher = new ResizeObserver(() => this.scrolled());
    this.watcher.observe(this.$refs.box);
    this.measure();
  },
  unmounted() {
    this.narrow.removeEventListener("change", this.measure);
    this.watcher.disconnect();
  },
  methods: {
    scrolled() {
      if (this.waiting) return;
      this.waiting = true;
      setTimeout(() => {
        this.waiting = false;
        const box = this.$refs.box;
        if (!box) return;
        const first = Math.floor(box.scrollTop / this.height);
        const look = { first, count: Math.ceil(box.clientHeight / this.height) };
        if (this.told === JSON.stringify(look)) return;
        this.told = JSON.stringify(look);
        this.$emit("look", look);
      }, 60);
    },
    pressed(event) {
      if (!KEYS.includes(event.key) || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      this.$emit("key", event.key);
    },
    reveal() {
      const box = this.$refs.box;
      const top = this.place * this.height;
      const seen = box.clientHeight - this.height - 2; // beneath the head
      if (top < box.scrollTop) box.scrollTop = top;
      else if (top + this.height > box.scrollTop + seen) box.scrollTop = top + this.height - seen;
    },
  },
};
