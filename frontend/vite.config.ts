import { readFileSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";

/** The licence of what is bundled goes with it. */
function licences(): Plugin {
  return {
    name: "licences",
    apply: "build",
    generateBundle() {
      for (const [name, file] of [["openseadragon", "LICENSE.txt"], ["clipper2-ts", "LICENSE"]] as const) {
        const source = readFileSync(`node_modules/${name}/${file}`);
        this.emitFile({ type: "asset", fileName: `assets/${name}-LICENSE.txt`, source });
      }
    },
  };
}

export default defineConfig({
  plugins: [licences()],
  build: {
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 700,
  },
});
