package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// The form of a bbolt file: pages of one size; 0 and 1 are meta pages, of which the valid
// one with the higher transaction counts. Numbers are in the byte order of the machine.
//
//	page      id 8 | flags 2 | count 2 | overflow 4 | content, also of the overflow pages
//	meta      magic 4 | version 4 | page size 4 | flags 4 | root page 8 | sequence 8 |
//	          page of the free list 8 | pages in use 8 | transaction 8 | FNV-1a of these 8
//	branch    count times: position of the key from here 4 | its length 4 | page 8
//	leaf      count times: flags 4 | position from here 4 | length of key 4 | of value 4
//	free list count (65535: the first number) page ids of 8
//	bucket    the value of an element with flag 1: root page 8 | sequence 8 | and, if the
//	          root page is 0, a leaf page of its own
const (
	pageHeader  = 16
	metaLength  = 64
	metaMagic   = 0xED0CDAED
	metaVersion = 2
	elementSize = 16
	bucketSize  = 16

	flagBranch   = 1
	flagLeaf     = 2
	flagFreelist = 16
	flagBucket   = 1 // of an element

	noFreelist = ^uint64(0)
	maxDepth   = 32 // of a tree
)

var native = binary.NativeEndian

// examination is one walk through a file.
type examination struct {
	file     io.ReaderAt
	pageSize int64
	pages    uint64 // in use
	seen     map[uint64]bool
	last     []byte // key of the last leaf element
}

// examine reports what is wrong with the structure of a bbolt file of this size: what
// would make bbolt panic, loop, or write over what is in use.
func examine(file io.ReaderAt, size int64) error {
	switch {
	case size == 0:
		return errors.New("it is empty")
	case size > maxFile:
		return fmt.Errorf("it has %d octets, expected at most %d", size, maxFile)
	}
	m, err := newestMeta(file)
	if err != nil {
		return err
	}
	x := &examination{file: file, pageSize: m.pageSize, pages: m.pages, seen: map[uint64]bool{0: true, 1: true}}
	if m.pages > uint64(size/m.pageSize) { //nolint:gosec // not negative
		return fmt.Errorf("it was cut: it has %d pages, expected %d", size/m.pageSize, m.pages)
	}
	if err := x.tree(m.root, nil, 0, true); err != nil {
		return err
	}
	return x.freelist(m.freelist)
}

// meta is what a meta page says.
type meta struct {
	pageSize                        int64
	root, freelist, pages, transact uint64
}

// newestMeta finds the valid meta page that counts. The second is where the page size of
// the first says or, if that is damaged, at one of the sizes there are.
func newestMeta(file io.ReaderAt) (best meta, err error) {
	found := false
	take := func(at int64) bool {
		m, ok := readMeta(file, at)
		if !ok || at != 0 && m.pageSize != at {
			return false
		}
		if !found || m.transact > best.transact {
			best, found = m, true
		}
		return true
	}
	if take(0) {
		take(best.pageSize)
	} else {
		for at := int64(1 << 10); at <= 1<<16 && !take(at); at <<= 1 {
		}
	}
	if !found {
		return best, errors.New("it does not begin as a store does")
	}
	return best, nil
}

func readMeta(file io.ReaderAt, at int64) (meta, bool) {
	b := make([]byte, pageHeader+metaLength)
	if _, err := file.ReadAt(b, at); err != nil {
		return meta{}, false
	}
	b = b[pageHeader:]
	sum := fnv.New64a()
	sum.Write(b[:metaLength-8])
	m := meta{
		pageSize: int64(native.Uint32(b[8:])), root: native.Uint64(b[16:]), freelist: native.Uint64(b[32:]),
		pages: native.Uint64(b[40:]), transact: native.Uint64(b[48:]),
	}
	ok := native.Uint32(b) == metaMagic && native.Uint32(b[4:]) == metaVersion && native.Uint64(b[56:]) == sum.Sum64()
	return m, ok && m.pageSize >= 1<<10 && m.pageSize <= 1<<16 && m.pageSize&(m.pageSize-1) == 0
}

// page reads a page with its overflow, once only, and returns its flags, its count of
// elements and everything of it.
func (x *examination) page(id uint64) (flags uint16, count int, b []byte, err error) {
	if id < 2 || id >= x.pages {
		return 0, 0, nil, fmt.Errorf("page %d is none of its %d", id, x.pages)
	}
	head := make([]byte, pageHeader)
	if _, err := x.file.ReadAt(head, int64(id)*x.pageSize); err != nil { //nolint:gosec // below the file's size
		return 0, 0, nil, fmt.Errorf("page %d: %w", id, err)
	}
	overflow := uint64(native.Uint32(head[12:]))
	if native.Uint64(head) != id || overflow >= x.pages-id {
		return 0, 0, nil, fmt.Errorf("page %d begins as no page does", id)
	}
	for i := id; i <= id+overflow; i++ {
		if x.seen[i] {
			return 0, 0, nil, fmt.Errorf("page %d is used twice", i)
		}
		x.seen[i] = true
	}
	b = make([]byte, int64(overflow+1)*x.pageSize) //nolint:gosec // at most the file's size
	if _, err := x.file.ReadAt(b, int64(id)*x.pageSize); err != nil {
		return 0, 0, nil, fmt.Errorf("page %d: %w", id, err)
	}
	return native.Uint16(b[8:]), int(native.Uint16(b[10:])), b, nil
}

// tree walks the pages below id in the order of keys. least is the key that leads there,
// buckets says whether the elements are buckets, or none of them is.
func (x *examination) tree(id uint64, least []byte, depth int, buckets bool) error {
	flags, count, b, err := x.page(id)
	if err != nil {
		return err
	}
	switch {
	case depth > maxDepth:
		return errors.New("its tree has too many levels")
	case flags == flagLeaf:
		return x.leaf(b, count, least, buckets)
	case flags != flagBranch || count == 0:
		return fmt.Errorf("page %d is no part of a tree", id)
	}
	for i := range count {
		at := pageHeader + i*elementSize
		if at+elementSize > len(b) {
			return fmt.Errorf("page %d is too short for its %d elements", id, count)
		}
		key, ok := cut(b, at, native.Uint32(b[at:]), native.Uint32(b[at+4:]))
		if !ok || x.last != nil && bytes.Compare(key, x.last) <= 0 || bytes.Compare(key, least) < 0 {
			return fmt.Errorf("page %d has a wrong key", id)
		}
		if err := x.tree(native.Uint64(b[at+8:]), key, depth+1, buckets); err != nil {
			return err
		}
	}
	return nil
}

// leaf checks the elements of a leaf page.
func (x *examination) leaf(b []byte, count int, least []byte, buckets bool) error {
	for i := range count {
		at := pageHeader + i*elementSize
		if at+elementSize > len(b) {
			return fmt.Errorf("a page is too short for its %d elements", count)
		}
		pos, keyLength := native.Uint32(b[at+4:]), native.Uint32(b[at+8:])
		key, ok := cut(b, at, pos, keyLength)
		if !ok || len(key) == 0 || x.last != nil && bytes.Compare(key, x.last) <= 0 || bytes.Compare(key, least) < 0 {
			return errors.New("a page has a wrong key")
		}
		value, ok := cut(b, at, pos+keyLength, native.Uint32(b[at+12:]))
		if !ok || (native.Uint32(b[at:]) == flagBucket) != buckets || native.Uint32(b[at:]) > flagBucket {
			return fmt.Errorf("the value of %.40q is wrong", key)
		}
		if buckets {
			if err := x.bucket(key, value); err != nil {
				return err
			}
		}
		x.last = key
	}
	return nil
}

// bucket walks the tree of the only bucket there may be.
func (x *examination) bucket(key, value []byte) error {
	if !bytes.Equal(key, bucketName) || len(value) < bucketSize {
		return fmt.Errorf("%.40q is no bucket of a store", key)
	}
	outer := x.last
	defer func() { x.last = outer }()
	x.last = nil
	if root := native.Uint64(value); root != 0 {
		return x.tree(root, nil, 0, false)
	}
	inline := value[bucketSize:]
	if len(inline) < pageHeader || native.Uint16(inline[8:]) != flagLeaf {
		return errors.New("the bucket's own page is wrong")
	}
	return x.leaf(inline, int(native.Uint16(inline[10:])), nil, false)
}

// freelist checks the list of free pages: in order, and none in use.
func (x *examination) freelist(id uint64) error {
	if id == noFreelist {
		return nil
	}
	flags, n, b, err := x.page(id)
	if err != nil {
		return err
	}
	count, ids := uint64(n), b[pageHeader:]
	if n == 0xffff {
		count, ids = native.Uint64(ids), ids[8:]
	}
	if flags != flagFreelist || count > uint64(len(ids)/8) {
		return errors.New("the list of free pages is wrong")
	}
	last := uint64(1)
	for i := range count {
		free := native.Uint64(ids[i*8:])
		if free <= last || free >= x.pages || x.seen[free] {
			return fmt.Errorf("page %d cannot be free", free)
		}
		last = free
	}
	return nil
}

// cut returns b[at+pos:][:length], if it is there.
func cut(b []byte, at int, pos, length uint32) ([]byte, bool) {
	from := uint64(at) + uint64(pos) //nolint:gosec // not negative
	if from+uint64(length) > uint64(len(b)) {
		return nil, false
	}
	return b[from:][:length], true
}
