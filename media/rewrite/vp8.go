package rewrite

import "errors"

// ErrDescriptor tells that a payload does not begin with a VP8 descriptor.
var ErrDescriptor = errors.New("rewrite: not a VP8 payload descriptor")

// VP8 is the payload descriptor of RFC 7741 4.2, with the offsets of what is
// rewritten. An offset of 0 means that the field is absent.
type VP8 struct {
	Start     bool  // S and PID 0: the packet begins a frame
	Keyframe  bool  // it begins a keyframe
	Size      uint8 // bytes of the descriptor
	PictureID uint16
	Wide      bool // the picture id has 15 bits
	TL0       uint8
	TID       uint8
	Sync      bool // Y
	KeyIdx    uint8

	picture, tl0, tid uint8
	hasTID, hasKey    bool
}

// HasPicture tells whether there is a picture id.
func (d *VP8) HasPicture() bool { return d.picture != 0 }

// HasTemporal tells whether there is a temporal layer index.
func (d *VP8) HasTemporal() bool { return d.hasTID }

// ParseVP8 reads the descriptor and the frame type. It looks no further than
// the first byte behind the descriptor: the rest may be encrypted end to end.
func ParseVP8(b []byte) (VP8, error) {
	var d VP8
	if len(b) == 0 {
		return d, ErrDescriptor
	}
	first := b[0]
	at := 1
	if first&0x80 != 0 { // X
		if at >= len(b) {
			return VP8{}, ErrDescriptor
		}
		x := b[at]
		at++
		if x&0x80 != 0 { // I
			if at >= len(b) {
				return VP8{}, ErrDescriptor
			}
			d.picture = uint8(at)
			d.PictureID = uint16(b[at] & 0x7f)
			if b[at]&0x80 != 0 { // M
				at++
				if at >= len(b) {
					return VP8{}, ErrDescriptor
				}
				d.Wide = true
				d.PictureID = d.PictureID<<8 | uint16(b[at])
			}
			at++
		}
		if x&0x40 != 0 { // L
			if at >= len(b) {
				return VP8{}, ErrDescriptor
			}
			d.tl0, d.TL0 = uint8(at), b[at]
			at++
		}
		if x&0x30 != 0 { // T or K
			if at >= len(b) {
				return VP8{}, ErrDescriptor
			}
			d.tid = uint8(at)
			d.hasTID, d.hasKey = x&0x20 != 0, x&0x10 != 0
			if d.hasTID {
				d.TID, d.Sync = b[at]>>6, b[at]&0x20 != 0
			}
			if d.hasKey {
				d.KeyIdx = b[at] & 0x1f
			}
			at++
		}
	}
	if at >= len(b) {
		return VP8{}, ErrDescriptor
	}
	d.Size = uint8(at)
	d.Start = first&0x10 != 0 && first&0x07 == 0
	// The P bit of the frame tag, RFC 6386 9.1.
	d.Keyframe = d.Start && b[at]&0x01 == 0
	return d, nil
}

// Put writes picture id, TL0PICIDX and KEYIDX of d over those in b, a copy of
// the payload that d was parsed from.
func (d *VP8) Put(b []byte) {
	if d.picture != 0 {
		if d.Wide {
			b[d.picture] = 0x80 | byte(d.PictureID>>8)&0x7f
			b[d.picture+1] = byte(d.PictureID)
		} else {
			b[d.picture] = byte(d.PictureID) & 0x7f
		}
	}
	if d.tl0 != 0 {
		b[d.tl0] = d.TL0
	}
	if d.hasKey {
		b[d.tid] = b[d.tid]&0xe0 | d.KeyIdx&0x1f
	}
}
