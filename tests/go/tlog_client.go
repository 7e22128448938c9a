// A client of tile logs that shares nothing with the package: Go's module proxy's own library reads the log.
//
//	tlog_client DIRECTORY PUBLIC_KEY [OLDER_CHECKPOINT]
//
// It opens the checkpoint of a copy of the cold store, recomputes the root from the tiles, proves each record of the
// entry bundles to be in the tree, proves that the tree extends an older checkpoint's, and prints size and root.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

type directory string

func (d directory) Height() int { return height }

func (d directory) SaveTiles([]tlog.Tile, [][]byte) {}

func (d directory) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var read [][]byte
	for _, tile := range tiles {
		data, err := d.read(tile)
		if err != nil {
			return nil, err
		}
		read = append(read, data)
	}
	return read, nil
}

// The paths of C2SP tlog-tiles have no height, and call level -1 "entries".
func (d directory) read(tile tlog.Tile) ([]byte, error) {
	path := strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", height))
	path = "tile/" + strings.Replace(path, "data/", "entries/", 1)
	return os.ReadFile(filepath.Join(string(d), "audit-ledger", path))
}

func open(text []byte, verifier note.Verifier) tlog.Tree {
	opened, err := note.Open(text, note.VerifierList(verifier))
	must(err)
	lines := strings.Split(opened.Text, "\n")
	if lines[0] != verifier.Name() {
		fail("the checkpoint is of log %q", lines[0])
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	must(err)
	root, err := base64.StdEncoding.DecodeString(lines[2])
	must(err)
	tree := tlog.Tree{N: size}
	if copy(tree.Hash[:], root) != len(tree.Hash) {
		fail("the root has %d bytes", len(root))
	}
	return tree
}

func (d directory) records(size int64) [][]byte {
	var records [][]byte
	for int64(len(records)) < size {
		tile := tlog.Tile{H: height, L: -1, N: int64(len(records)) >> height, W: 1 << height}
		if rest := size - int64(len(records)); rest < int64(tile.W) {
			tile.W = int(rest)
		}
		data, err := d.read(tile)
		must(err)
		for count := 0; count < tile.W; count++ {
			length := int(binary.BigEndian.Uint16(data))
			records, data = append(records, data[2:2+length]), data[2+length:]
		}
		if len(data) != 0 {
			fail("%d bytes are left over in bundle %d", len(data), tile.N)
		}
	}
	return records
}

func main() {
	root := directory(os.Args[1])
	verifier, err := note.NewVerifier(os.Args[2])
	must(err)
	checkpoint, err := os.ReadFile(filepath.Join(os.Args[1], "audit-ledger", "checkpoint"))
	must(err)
	tree := open(checkpoint, verifier)
	hashes := tlog.TileHashReader(tree, root)
	recomputed, err := tlog.TreeHash(tree.N, hashes)
	must(err)
	if recomputed != tree.Hash {
		fail("the tiles lead to root %s", recomputed)
	}
	for index, record := range root.records(tree.N) {
		proof, err := tlog.ProveRecord(tree.N, int64(index), hashes)
		must(err)
		must(tlog.CheckRecord(proof, tree.N, tree.Hash, int64(index), tlog.RecordHash(record)))
	}
	if len(os.Args) > 3 {
		text, err := os.ReadFile(os.Args[3])
		must(err)
		older := open(text, verifier)
		proof, err := tlog.ProveTree(tree.N, older.N, hashes)
		must(err)
		must(tlog.CheckTree(proof, tree.N, tree.Hash, older.N, older.Hash))
	}
	fmt.Printf("%d %x\n", tree.N, tree.Hash[:])
}

func must(err error) {
	if err != nil {
		fail("%v", err)
	}
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}
