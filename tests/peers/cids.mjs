// Prints the CID of each file named, one a line, by the profile unixfs-v1-2025 (IPIP-499). Blocks are counted as they
// come and not kept, so memory does not grow with the file.
import { createReadStream } from 'node:fs'
import { importByteStream } from 'ipfs-unixfs-importer'

const nowhere = { put: async (cid) => cid }

for (const file of process.argv.slice(2)) {
  const { cid } = await importByteStream(createReadStream(file), nowhere, { profile: 'unixfs-v1-2025' })
  console.log(cid.toString())
}
