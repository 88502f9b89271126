/** Names of the guideline's pictures. */

import { expect, test } from "vitest";
import { pictureName } from "../src/labelling/guide_page";

test.each([
  ["image.png", "No picture yet.", "image.jpg"],
  ["image.png", "![A nest](image.jpg)", "image-2.jpg"],
  ["image.heic", "![](image.jpg)\n\n![b](image-2.jpg)", "image-3.jpg"],
  ["image.png", "See [this](image.jpg).", "image.jpg"],
  ["nest (1).png", "", "nest -1-.jpg"],
  ["ключ.png", "", "picture.jpg"],
  ["../..png", "", "picture.jpg"],
])("%s beside the pictures of %j is kept as %s", (file, guideline, name) => {
  expect(pictureName(file, guideline)).toBe(name);
});
