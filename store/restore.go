package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
)

// Restore replaces the whole state by a snapshot. All of it is read and
// checked before anything changes: after an error that is ErrBadSnapshot, or
// one of r, the state is what it was. Entries applied later have higher
// indexes than the snapshot's.
func (s *State) Restore(r io.Reader) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	if s.db.closed {
		return ErrClosed
	}
	ctx := context.Background()

	f, err := os.CreateTemp(s.db.dir, tempPattern)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	defer os.Remove(f.Name()) // gone already when all went well
	img, homes, err := readSnapshot(r, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := checkDatabase(ctx, f.Name(), img.Applied); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := s.db.replace(ctx, f.Name()); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	s.mu.Lock()
	s.mem, s.applied = img.memory(homes), img.Applied
	s.mu.Unlock()
	return nil
}

// readSnapshot checks the stream and leaves the database in the file.
func readSnapshot(r io.Reader, db *os.File) (image, *homes, error) {
	in := &sumReader{r: r, sum: sha256.New()}
	var img image

	header := make([]byte, len(snapshotMagic)+2)
	if _, err := io.ReadFull(in, header); err != nil {
		return img, nil, truncated(err)
	}
	if string(header[:len(snapshotMagic)]) != snapshotMagic {
		return img, nil, fmt.Errorf("%w: it does not begin like one", ErrBadSnapshot)
	}
	if v := binary.BigEndian.Uint16(header[len(snapshotMagic):]); v != snapshotVersion {
		return img, nil, fmt.Errorf("%w: format %d, this binary knows %d", ErrBadSnapshot, v, snapshotVersion)
	}

	section, err := in.section()
	if err != nil {
		return img, nil, err
	}
	d := json.NewDecoder(section)
	d.DisallowUnknownFields() // a newer binary's: leaving it out would lose it
	if err := d.Decode(&img); err != nil {
		if in.err != nil {
			return img, nil, truncated(in.err)
		}
		return img, nil, fmt.Errorf("%w: memory part: %w", ErrBadSnapshot, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) || section.N != 0 {
		if in.err != nil {
			return img, nil, truncated(in.err)
		}
		return img, nil, fmt.Errorf("%w: memory part is longer than its JSON", ErrBadSnapshot)
	}

	if section, err = in.section(); err != nil {
		return img, nil, err
	}
	homes, err := decodeHomes(section, img.LastEpoch, img.node)
	if err != nil {
		if in.err != nil {
			return img, nil, truncated(in.err)
		}
		return img, nil, err
	}

	if section, err = in.section(); err != nil {
		return img, nil, err
	}
	if _, err := io.Copy(db, section); err != nil {
		return img, nil, err
	}
	if section.N != 0 {
		return img, nil, truncated(io.ErrUnexpectedEOF)
	}

	want := in.sum.Sum(nil)
	got := make([]byte, len(want)+1)
	n, err := io.ReadFull(in, got)
	if n > len(want) || (n == len(want) && string(got[:n]) != string(want)) {
		return img, nil, fmt.Errorf("%w: checksum", ErrBadSnapshot)
	}
	if n < len(want) || !errors.Is(err, io.ErrUnexpectedEOF) {
		return img, nil, truncated(err)
	}
	return img, homes, db.Sync()
}

// truncated tells a snapshot that ends early from a reader that failed.
func truncated(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends early", ErrBadSnapshot)
	}
	return err
}

// sumReader sums up what is read, and remembers why reading ended.
type sumReader struct {
	r   io.Reader
	sum hash.Hash
	err error
}

func (s *sumReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.sum.Write(p[:n])
	if err != nil {
		s.err = err
	}
	return n, err
}

// section reads the length of what follows.
func (s *sumReader) section() (*io.LimitedReader, error) {
	var b [8]byte
	if _, err := io.ReadFull(s, b[:]); err != nil {
		return nil, truncated(err)
	}
	n := binary.BigEndian.Uint64(b[:])
	if n > 1<<62 {
		return nil, fmt.Errorf("%w: a part of %d bytes", ErrBadSnapshot, n)
	}
	return &io.LimitedReader{R: s, N: int64(n)}, nil
}

// checkDatabase opens the file as it will be opened in its place.
func checkDatabase(ctx context.Context, file string, index uint64) (err error) {
	db, applied, err := openWriter(ctx, file)
	if err != nil {
		return fmt.Errorf("%w: database: %w", ErrBadSnapshot, err)
	}
	// Closing folds the WAL into the file and removes it.
	defer func() { err = errors.Join(err, db.Close()) }()
	if applied > index {
		return fmt.Errorf("%w: database at index %d, memory at %d", ErrBadSnapshot, applied, index)
	}
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return fmt.Errorf("%w: database: %w", ErrBadSnapshot, err)
	}
	if verdict != "ok" {
		return fmt.Errorf("%w: database: %.200s", ErrBadSnapshot, verdict)
	}
	return nil
}
