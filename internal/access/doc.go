// Package access knows who may do what: people with passwords, their sessions,
// API tokens, and the secrets the product itself logs in with.
//
// Roles are administrator (everything), viewer (looks) and, for tokens alone,
// writer (sends samples, sees nothing). Passwords are kept
// as argon2id hashes, sessions and tokens as SHA-256 of 256 random bits. Each
// change is an audit entry of the ledger, written before the change so that
// none goes unrecorded; one that then failed is followed by an entry that says
// so. Nothing secret is in an entry, a log line or an error.
//
// # The vault on disk
//
// [Vault] seals credentials under a master key of 32 bytes. A key's id is the
// first 8 bytes, in hex, of SHA-256("nocturne master key 1" NUL key); it is no
// secret. A seal is XChaCha20-Poly1305 with a random nonce of 24 bytes over
// the additional data "nocturne vault 1" NUL kind NUL name, so that no sealed
// record can stand in for another. Records of package state:
//
//	sealed/NAME              a credential: the JSON of its value, secrets revealed
//	vault-check/check        a fixed text under the key in use: it proves a key, and
//	                         has the parameters where the key comes of a passphrase
//	vault-rotation/rotation  there while a rotation goes on: the ids of both keys,
//	                         and the earlier key sealed by the later
//
// Each names the key that sealed it (schema version 2). In those of version 1
// no key is named: it is the earlier one while a rotation goes on, else the
// one in use.
//
// The key comes from a [KeySource]: a file or a systemd credential that holds
// it in base64, or a passphrase, from which argon2id makes it with a salt that
// is kept in state.
//
// # Rotation
//
// The next key is offered beside the current one: in the file NAME.next, which
// the program makes by itself for a key file, in the credential NAME.next, in
// another source that the configuration names, or, for a passphrase that is
// asked for, with the request. Then, each step durable before the next:
//
//  1. the record vault-rotation: from here on the next key is the one
//     that counts, and the earlier one is inside, so that one key suffices;
//  2. each sealed record anew, by compare-and-swap;
//  3. the record vault-check;
//  4. NAME.next takes the place of NAME, where these are files; the earlier one
//     is removed, or stays as NAME.old-ID where that was asked for;
//  5. an entry in the ledger, then the record vault-rotation goes.
//
// Whoever is killed before 1 has an offered key that sealed nothing, and the
// next rotation takes it; after 1 the next start finishes. Putting, opening
// and deleting go on all the time. What the disk still holds of earlier
// records and files is not overwritten, which no file system promises to do in
// place: whoever has the earlier key and the disk may find earlier records,
// but neither the later key nor anything sealed by it.
package access
