// Lines of text, some of which can be pressed: a payload with its numbers, a history with its values, a difference.
export default {
  template: `
    <div class="topic-lines" role="group" :aria-label="label" tabindex="0">
      <div v-for="(line, index) in lines" :key="line.key ?? index" :class="['topic-line', line.tone]"
           :style="{ paddingLeft: 'calc(' + (line.indent || 0) + ' * 1.25em)' }">
        <span class="topic-label">{{ line.label }}</span
        ><button v-if="line.act !== undefined" type="button" :class="['topic-act', line.kind]" :title="line.hint"
                 :aria-pressed="!!line.on" :aria-label="line.told"
                 @click="$emit('pick', line.act)">{{ line.value }}</button
        ><span v-else :class="line.kind">{{ line.value }}</span
        ><span class="topic-label">{{ line.tail }}</span>
      </div>
    </div>`,
  props: { label: String, lines: Array },
};
