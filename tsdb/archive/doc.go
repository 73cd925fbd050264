// Package archive moves whole pieces of history in and out of a history
// folder, also while a server writes to it.
//
//   - Hold links all that a history is made of into a folder of its own: a
//     still picture, which stays whole while the server compacts and deletes.
//   - Backup copies such a picture to another folder, each block once.
//     Restore writes a generation of it into an empty folder.
//   - AdmitBlocks verifies blocks of others and moves them in.
//
// What a backup folder holds:
//
//	blocks/ULID/...            chunks and indexes, shared by all generations
//	blocks/rollup-5m/ULID/...  the same of the rollup tiers
//	20261123T064200.000Z/      a generation: its small and changing files
//	  manifest.json            every file with size and SHA-256, written last
//	lock                       held while a backup or a pruning runs
//
// A generation without manifest.json was cut short and counts as none; what
// it left is used or removed by later runs. The chunks that the server has
// mapped from its head (chunks_head) are left out: the logs hold their samples
// too, and replaying them makes the chunks anew. So is what else lies beside
// the blocks: it speaks of that server's log and disk.
package archive
