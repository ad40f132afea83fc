// Checks trees, proofs, tiles and checkpoints by an implementation that shares nothing with ours: Go's checksum database
// (golang.org/x/mod/sumdb), from which the formats come. It reads what we made from standard input and writes what it makes itself, of
// the same events, to standard output. Exit status 1 with the reason on standard error when something does not hold.
package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

type proof struct {
	From   int64    `json:"from"`
	Size   int64    `json:"size"`
	Hashes []string `json:"hashes"`
}

// What one side makes for the other. Entries, roots and proofs are in base64, tiles besides by their path.
type made struct {
	Origin      string            `json:"origin"`
	Key         string            `json:"key"`
	Note        string            `json:"note"`
	Entries     []string          `json:"entries"`
	Roots       map[int64]string  `json:"roots"`
	Inclusion   []proof           `json:"inclusion"`
	Consistency []proof           `json:"consistency"`
	Tiles       map[string]string `json:"tiles"`
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func ensure(holds bool, what string) {
	if !holds {
		must(fmt.Errorf("%s does not hold", what))
	}
}

func hash(text string) (hash tlog.Hash) {
	bytes, err := base64.StdEncoding.DecodeString(text)
	must(err)
	ensure(len(bytes) == len(hash), "a hash's length")
	copy(hash[:], bytes)
	return
}

func hashes(texts []string) (all []tlog.Hash) {
	for _, text := range texts {
		all = append(all, hash(text))
	}
	return
}

func texts(hashes []tlog.Hash) []string {
	all := []string{}
	for _, hash := range hashes {
		all = append(all, hash.String())
	}
	return all
}

// Our tiles, by the paths of C2SP tlog-tiles, which leave out the height.
type tiles map[string]string

func path(tile tlog.Tile) string {
	return strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", height))
}

func (tiles tiles) Height() int { return height }

func (tiles tiles) ReadTiles(wanted []tlog.Tile) (all [][]byte, err error) {
	for _, tile := range wanted {
		text, ok := tiles[path(tile)]
		if !ok {
			return nil, fmt.Errorf("the tile %s is missing", path(tile))
		}
		bytes, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, err
		}
		all = append(all, bytes)
	}
	return all, nil
}

func (tiles tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// A whole tree in memory.
type tree []tlog.Hash

func (tree tree) ReadHashes(indexes []int64) (all []tlog.Hash, err error) {
	for _, index := range indexes {
		all = append(all, tree[index])
	}
	return all, nil
}

func grow(entries []string) (grown tree) {
	for at, entry := range entries {
		bytes, err := base64.StdEncoding.DecodeString(entry)
		must(err)
		more, err := tlog.StoredHashes(int64(at), bytes, grown)
		must(err)
		grown = append(grown, more...)
	}
	return
}

func check(ours made, grown tree) {
	verifier, err := note.NewVerifier(ours.Key)
	must(err)
	opened, err := note.Open([]byte(ours.Note), note.VerifierList(verifier))
	must(err)
	ensure(len(opened.Sigs) == 1, "the checkpoint's one signature")
	lines := strings.Split(opened.Text, "\n")
	ensure(len(lines) == 4 && lines[0] == ours.Origin && lines[3] == "", "the checkpoint's text")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	must(err)
	ensure(size == int64(len(ours.Entries)), "the checkpoint's size")

	for size, ours := range ours.Roots {
		root, err := tlog.TreeHash(size, grown)
		must(err)
		ensure(root == hash(ours), fmt.Sprint("the root at ", size))
	}
	root := hash(lines[2])
	ensure(root == hash(ours.Roots[size]), "the checkpoint's root")
	for _, one := range ours.Inclusion {
		leaf := tlog.RecordHash(decode(ours.Entries[one.From]))
		must(tlog.CheckRecord(hashes(one.Hashes), one.Size, hash(ours.Roots[one.Size]), one.From, leaf))
	}
	for _, one := range ours.Consistency {
		must(tlog.CheckTree(hashes(one.Hashes), one.Size, hash(ours.Roots[one.Size]), one.From, hash(ours.Roots[one.From])))
	}
	// Every tile that is read here is first held against the checkpoint's root.
	reader := tlog.TileHashReader(tlog.Tree{N: size, Hash: root}, tiles(ours.Tiles))
	indexes := []int64{}
	for at := int64(0); at < size; at++ {
		indexes = append(indexes, tlog.StoredHashIndex(0, at))
	}
	leaves, err := reader.ReadHashes(indexes)
	must(err)
	for at, leaf := range leaves {
		ensure(leaf == tlog.RecordHash(decode(ours.Entries[at])), fmt.Sprint("the leaf at ", at))
	}
}

func decode(text string) []byte {
	bytes, err := base64.StdEncoding.DecodeString(text)
	must(err)
	return bytes
}

func answer(ours made, grown tree) (theirs made) {
	theirs = made{Origin: ours.Origin, Entries: ours.Entries, Roots: map[int64]string{}, Tiles: map[string]string{}}
	secret, public, err := note.GenerateKey(rand.Reader, ours.Origin)
	must(err)
	theirs.Key = public
	signer, err := note.NewSigner(secret)
	must(err)
	for size := range ours.Roots {
		root, err := tlog.TreeHash(size, grown)
		must(err)
		theirs.Roots[size] = root.String()
	}
	size := int64(len(ours.Entries))
	text := fmt.Sprintf("%s\n%d\n%s\n", ours.Origin, size, theirs.Roots[size])
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	must(err)
	theirs.Note = string(signed)
	for _, one := range ours.Inclusion {
		record, err := tlog.ProveRecord(one.Size, one.From, grown)
		must(err)
		theirs.Inclusion = append(theirs.Inclusion, proof{one.From, one.Size, texts(record)})
	}
	for _, one := range ours.Consistency {
		tree, err := tlog.ProveTree(one.Size, one.From, grown)
		must(err)
		theirs.Consistency = append(theirs.Consistency, proof{one.From, one.Size, texts(tree)})
	}
	for _, tile := range tlog.NewTiles(height, 0, size) {
		data, err := tlog.ReadTileData(tile, grown)
		must(err)
		theirs.Tiles[path(tile)] = base64.StdEncoding.EncodeToString(data)
	}
	return
}

func main() {
	var ours made
	must(json.NewDecoder(os.Stdin).Decode(&ours))
	grown := grow(ours.Entries)
	check(ours, grown)
	must(json.NewEncoder(os.Stdout).Encode(answer(ours, grown)))
}
