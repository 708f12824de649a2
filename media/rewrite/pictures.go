package rewrite

// Pictures keeps picture id, TL0PICIDX and KEYIDX of VP8 continuous where
// Numbering begins a new stretch. The zero value passes the first source
// through unchanged.
type Pictures struct {
	started bool
	fresh   bool

	picOff uint16
	tl0Off uint8
	keyOff uint8

	outPic uint16 // the highest handed out
	outTL0 uint8
	outKey uint8
}

// Restart makes the next picture the successor of the last one.
func (p *Pictures) Restart() { p.fresh = p.started }

// Map changes the fields of a descriptor to the subscriber's, and reports
// whether any differs from the source's.
func (p *Pictures) Map(d *VP8) bool {
	switch {
	case !p.started:
		p.started = true
		p.outPic, p.outTL0, p.outKey = d.PictureID, d.TL0, d.KeyIdx
		return false
	case p.fresh:
		p.fresh = false
		p.picOff = p.outPic + 1 - d.PictureID
		p.tl0Off = p.outTL0 + 1 - d.TL0
		p.keyOff = p.outKey + 1 - d.KeyIdx
		changed := p.apply(d)
		if d.HasPicture() {
			p.outPic = d.PictureID
		}
		if d.tl0 != 0 {
			p.outTL0 = d.TL0
		}
		if d.hasKey {
			p.outKey = d.KeyIdx
		}
		return changed
	}
	changed := p.apply(d)
	if d.HasPicture() && ahead(d.PictureID, p.outPic, d.Wide) {
		p.outPic = d.PictureID
	}
	if d.tl0 != 0 && int8(d.TL0-p.outTL0) > 0 {
		p.outTL0 = d.TL0
	}
	if d.hasKey && (d.KeyIdx-p.outKey)&0x1f != 0 && (d.KeyIdx-p.outKey)&0x1f < 16 {
		p.outKey = d.KeyIdx
	}
	return changed
}

// Again maps a descriptor of a packet that was sent before.
func (p *Pictures) Again(d *VP8) bool { return p.apply(d) }

// apply touches only the fields that are there.
func (p *Pictures) apply(d *VP8) bool {
	if p.picOff == 0 && p.tl0Off == 0 && p.keyOff == 0 {
		return false
	}
	was := *d
	if d.HasPicture() {
		d.PictureID = (d.PictureID + p.picOff) & pictureMask(d.Wide)
	}
	if d.tl0 != 0 {
		d.TL0 += p.tl0Off
	}
	if d.hasKey {
		d.KeyIdx = (d.KeyIdx + p.keyOff) & 0x1f
	}
	return *d != was
}

func pictureMask(wide bool) uint16 {
	if wide {
		return 0x7fff
	}
	return 0x7f
}

func ahead(a, b uint16, wide bool) bool {
	mask := pictureMask(wide)
	diff := (a - b) & mask
	return diff != 0 && diff <= mask/2
}
