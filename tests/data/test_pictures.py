import base64
import io
import os
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from picture_files import png_of
from sartor.data import pictures
from sartor.data.pictures import PictureError, decode, look
from sartor.errors import DataError

RED, BLUE, WHITE = (200, 30, 20), (20, 30, 200), (255, 255, 255)


def halves(width=40, height=20):
    """A picture whose left is red and whose right is blue."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[:, : width // 2], pixels[:, width // 2 :] = RED, BLUE
    return Image.fromarray(pixels)


def noise(width=64, height=48, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def saved(image, path, **options):
    image.save(path, **options)
    return str(path)


def near(pixel, colour):
    return np.abs(np.asarray(pixel, dtype=int) - colour).max() <= 12


# --- formats -----------------------------------------------------------------------------------------------

LOSSLESS = {"a.png": {}, "a.bmp": {}, "a.tif": {}, "a.TIFF": {"compression": "tiff_lzw"}, "a.webp": {"lossless": True}}


@pytest.mark.parametrize(("name", "options"), LOSSLESS.items(), ids=LOSSLESS)
def test_what_is_stored_without_loss_is_read_as_it_was(tmp_path, name, options):
    image = noise()
    assert np.array_equal(decode(saved(image, tmp_path / name, **options)), np.asarray(image))


@pytest.mark.parametrize("name", ["a.jpg", "a.JPG", "a.jpeg", "a.gif", "日本語.jpg", "no suffix"])
def test_what_loses_is_read_nearly_as_it_was(tmp_path, name):
    path = saved(halves(), tmp_path / name, format="GIF" if name.endswith("gif") else "JPEG")
    pixels = decode(path)
    assert (pixels.shape, pixels.dtype) == ((20, 40, 3), np.uint8)
    assert near(pixels[10, 5], RED)
    assert near(pixels[10, 35], BLUE)


def test_a_data_uri_is_read():
    file = io.BytesIO()
    noise().save(file, "PNG")
    uri = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    assert np.array_equal(decode(uri), np.asarray(noise()))
    assert look(uri) == look(uri)


# the picture upright is red on the left; stored so that a reader must turn it
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize("orientation", STORED)
def test_exif_says_which_way_is_up(tmp_path, name, orientation):
    upright = np.asarray(halves()).copy()
    upright[:10] = upright[:10] // 2  # dark above, so that every orientation is another picture
    image, how = Image.fromarray(upright), STORED[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": 0} if name.endswith("jpg") else {}
    pixels = decode(saved(image if how is None else image.transpose(how), tmp_path / name, exif=exif, **options))
    assert pixels.shape == upright.shape
    assert np.abs(pixels.astype(int) - upright).mean() < 8


def test_broken_exif_does_not_matter(tmp_path):
    path = saved(halves(), tmp_path / "a.jpg", exif=b"Exif\0\0" + b"MM\0*\xff\xff\xff\xff" + b"\xff" * 40)
    assert decode(path).shape == (20, 40, 3)


def test_transparent_parts_are_white(tmp_path):
    clear = halves().convert("RGBA")
    clear.putalpha(Image.fromarray(np.repeat([[0, 255]], 20, 0).repeat(20, 1).astype(np.uint8)))
    for name, image in {
        "rgba.png": clear,
        "la.png": clear.convert("LA"),
        "a.webp": clear,
        "a.tif": clear,
        "palette.png": clear.quantize(8),
        "a.gif": clear,
    }.items():
        pixels = decode(saved(image, tmp_path / name))
        assert near(pixels[10, 5], WHITE), name
        assert not near(pixels[10, 35], WHITE), name


def test_a_half_transparent_pixel_is_half_white(tmp_path):
    path = saved(Image.new("RGBA", (4, 4), (0, 0, 0, 128)), tmp_path / "a.png")
    assert np.all(decode(path) == 127)


def test_greys_are_read_alike_whatever_their_width(tmp_path):
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    wanted = np.repeat(ramp[:, :, None], 3, 2)
    wide = Image.fromarray(ramp.astype(np.uint16) * 257)
    assert wide.mode == "I;16"
    for name, image in {
        "8.png": Image.fromarray(ramp),
        "16.png": wide,
        "16.tif": wide,
        "32.tif": Image.fromarray(ramp.astype(np.int32) * 257),
        "bytes in 32.tif": Image.fromarray(ramp.astype(np.int32)),
        "float.tif": Image.fromarray(ramp.astype(np.float32) / 255),
        "float bytes.tif": Image.fromarray(ramp.astype(np.float32)),
    }.items():
        assert np.array_equal(decode(saved(image, tmp_path / name)), wanted), name


def test_floats_beyond_any_usual_range_are_scaled_by_their_own(tmp_path):
    values = np.array([[0, 1e6], [np.nan, 4.99e5]], dtype=np.float32)
    assert decode(saved(Image.fromarray(values), tmp_path / "a.tif"))[..., 0].tolist() == [[0, 255], [0, 127]]


def test_black_and_white_and_palettes(tmp_path):
    assert near(decode(saved(halves().quantize(8), tmp_path / "p.png"))[10, 5], RED)
    bits = Image.fromarray(np.eye(8) > 0)
    assert np.array_equal(decode(saved(bits, tmp_path / "1.png"))[..., 1] > 0, np.eye(8) > 0)


def test_inks_are_turned_into_light(tmp_path):
    for name in ("a.jpg", "a.tif"):
        pixels = decode(saved(halves().convert("CMYK"), tmp_path / name))
        assert near(pixels[10, 5], RED), name
        assert near(pixels[10, 35], BLUE), name


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif"])
def test_of_several_pictures_in_a_file_the_first_is_read(tmp_path, name):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE, WHITE)]
    pixels = decode(saved(frames[0], tmp_path / name, save_all=True, append_images=frames[1:]))
    assert pixels.shape == (8, 8, 3)
    assert near(pixels[4, 4], RED)


def test_a_jpeg_is_unpacked_as_small_as_will_do(tmp_path):
    path = saved(halves(1600, 800), tmp_path / "a.jpg")
    assert decode(path).shape == (800, 1600, 3)
    assert decode(path, side=224).shape == (400, 800, 3)
    assert decode(path, side=100).shape == (100, 200, 3)
    assert decode(path, side=900).shape == (800, 1600, 3)
    assert near(decode(path, side=100)[50, 20], RED)


# --- what is no picture ------------------------------------------------------------------------------------


def bytes_of(format="JPEG", image=None):
    file = io.BytesIO()
    (image or noise(200, 200)).save(file, format)
    return file.getvalue()


BAD = {
    "a text": (b"these are words, nothing else", "is text, not a picture"),
    "a PDF": (b"%PDF-1.7 and so on", "is a PDF document, not a picture"),
    "noise": (bytes(range(256)) * 4, "is something else, not a picture"),
    "an iPhone's": (b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(40), "is HEIC, which is not read; save it as JPEG or PNG"),
    "nothing": (b"", "is empty"),
    "a JPEG cut in the middle": (bytes_of()[:5000], "is damaged or cut short"),
    "a JPEG cut in its header": (bytes_of()[:30], "is damaged or cut short"),
    "a PNG cut in the middle": (bytes_of("PNG")[:5000], "is damaged or cut short"),
    "a PNG cut in its header": (bytes_of("PNG")[:20], "is damaged or cut short"),
    "a GIF cut in the middle": (bytes_of("GIF")[:2000], "is damaged or cut short"),
    "a WebP cut in the middle": (bytes_of("WEBP")[:2000], "is damaged or cut short"),
    "a BMP cut in the middle": (bytes_of("BMP")[:2000], "is damaged or cut short"),
    "a TIFF cut in the middle": (bytes_of("TIFF")[:2000], "is damaged or cut short"),
    "a PNG with a wrong byte": (bytes_of("PNG")[:4000] + b"\0" + bytes_of("PNG")[4001:], "is damaged or cut short"),
    "900 megapixels": (png_of(30_000, 30_000), "at most 100 million are read"),
    "a little too much": (png_of(10_001, 10_000), "has 10,001 x 10,000 pixels, and at most 100 million are read"),
    "no pixels": (png_of(0, 10), "is damaged|has no pixels"),
    "another format": (b"P6 2 2 255 " + bytes(12), "not a picture"),
}


@pytest.mark.parametrize(("content", "why"), BAD.values(), ids=BAD)
def test_what_cannot_be_used_is_told_in_a_sentence(tmp_path, content, why):
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    for read in (decode, look):
        with pytest.raises(DataError, match=f"^The picture '.*x.jpg' .*({why}).*\\.$"):
            read(str(path))


def test_paths_that_lead_to_no_picture(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    for path, why in {
        tmp_path: "is a folder",
        tmp_path / "none.jpg": "is not there",
        tmp_path / "pipe.jpg": "is no file",
        tmp_path / "loop.jpg": "cannot be read",
        "a\0b.jpg": "has a name that no file can have",
        "data:image/png;base64,***": "is a data URI without base64",
        "data:image/png,abc": "is a data URI without base64",
    }.items():
        with pytest.raises(PictureError, match=why):
            decode(str(path))


def test_a_file_without_permission(tmp_path, monkeypatch):
    path = saved(noise(), tmp_path / "a.jpg")

    def refuse(*_):  # root, as whom tests may run, may read everything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pictures, "open", refuse, raising=False)
    with pytest.raises(PictureError, match="may not be read"):
        decode(path)


def test_a_name_that_is_not_utf8_can_be_printed(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")
    assert pictures.shown(path).endswith("/\ufffd.jpg")
    with pytest.raises(PictureError) as told:
        decode(path)
    assert "\ufffd" in str(told.value).encode().decode()
    assert decode(saved(noise(), path)).shape == (48, 64, 3)


# --- Pillow's manners --------------------------------------------------------------------------------------


def test_no_warning_of_pillow_leaks_from_any_thread_and_others_do(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)  # it warns of more
    path = saved(noise(), tmp_path / "a.png")
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(path).close()
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: decode(path).shape, range(100))) == {(48, 64, 3)}
    assert warnings.filters == before
    with pictures._quiet(), pytest.warns(UserWarning, match="ours"):
        warnings.warn("ours", stacklevel=1)
    assert warnings.filters == before


def test_pillows_limits_stay_as_they_are(tmp_path):
    limit = Image.MAX_IMAGE_PIXELS
    decode(saved(noise(), tmp_path / "a.png"))
    assert limit == Image.MAX_IMAGE_PIXELS


# --- looks -------------------------------------------------------------------------------------------------


def smooth(seed, size=(240, 180)):
    """A picture of large forms."""
    return noise(6, 5, seed).resize(size, Image.Resampling.BICUBIC)


def test_a_copy_that_was_saved_again_looks_the_same(tmp_path):
    first = look(saved(smooth(0), tmp_path / "a.png"))
    again = look(saved(smooth(0), tmp_path / "b.jpg", quality=60))
    other = look(saved(smooth(1), tmp_path / "c.png"))
    assert (first.bits ^ again.bits).bit_count() <= 2
    assert (first.bits ^ other.bits).bit_count() > 10


def test_a_look_is_remembered_until_the_file_changes(tmp_path, monkeypatch):
    path = saved(smooth(0), tmp_path / "a.png")
    first = look(path)
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "_decoded", None)
        assert look(path) is first
    saved(smooth(1), tmp_path / "a.png")
    os.utime(path, ns=(1, 1))
    assert look(path) != first
