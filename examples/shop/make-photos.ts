import { drawPhoto, PHOTOS } from "./photos.ts";
import { outPath, writeWhole } from "./artifacts.ts";

/** Draws every photo into `out/photos`; the demo does this first. */
export async function makePhotos(): Promise<void> {
  for (const [index, name] of PHOTOS.entries()) {
    writeWhole(outPath("photos", name), await drawPhoto(index));
  }
}
