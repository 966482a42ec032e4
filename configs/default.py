"""Every field, with its unit and its allowed values. Other configs start from this one and change what they need.

Trains the paper's hybrid loss on rater_phantom, a generated benchmark whose truth is known:

  python run_train.py --config=configs/default.py --workdir=runs/default

On the command line any field can be changed: ``--config.loss.alpha=0.5 --config.train.num_steps=200``.
"""

from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def phantom_args() -> ConfigDict:
  """Returns the settings of rater_phantom, all left as the builder's own config has them."""
  args: Any = ConfigDict()
  args.num_raters = placeholder(int)  # R >= 1
  args.correlation = placeholder(float)  # of two raters' errors, in [0, 0.99]
  args.ambiguity = placeholder(float)  # > 0; factor on the width of the zone in which raters disagree
  args.rater_bias = placeholder(float)  # >= 0; spread of the raters' constant biases, in units of that width
  args.field_scale = placeholder(float)  # > 0 pixels; smoothness of the raters' errors
  args.missing_share = placeholder(float)  # in [0, 1); probability that a rater is missing from an image
  args.height = placeholder(int)  # pixels
  args.width = placeholder(int)  # pixels
  args.num_train = placeholder(int)  # images
  args.num_validation = placeholder(int)  # images
  args.num_test = placeholder(int)  # images
  args.images_per_group = placeholder(int)  # images of one simulated patient, >= 1
  args.seed = placeholder(int)  # another seed, another data set of the same distribution
  return args


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the default config; takes no argument."""
  if arg:
    raise ValueError(f"configs/default.py takes no argument, got ':{arg}'. Use --config.<section>.<field>=<value>.")
  config: Any = ConfigDict()

  config.seed = 0  # initialisation, order of examples, augmentation, dropout

  config.data = ConfigDict()
  config.data.builder = "rater_phantom"  # a folder of data/ (data/README.md lists them)
  config.data.config = "default"  # the builder's own config, by name; '' is its first
  config.data.builder_args = phantom_args()  # fields of that builder config to change; None leaves one as it is
  config.data.data_dir = ""  # where built data sets live; '': $TFDS_DATA_DIR, else ~/tensorflow_datasets
  config.data.manual_dir = ""  # folder with the files you downloaded yourself, for builders that need it
  config.data.train_split = "train"  # a split of the data set, or a slice of one such as train[:10%]
  config.data.validation_split = "validation"  # chooses the best checkpoint
  config.data.raters = "all"  # whom training sees: all; random: one per image, drawn anew; or numbers: "0,2"
  config.data.crop_size = (64, 64)  # pixels (H, W), or (D, H, W) of volumes; smaller examples are padded, masked
  config.data.num_threads = 2  # threads that read and augment, per process
  config.data.prefetch_batches = 2  # batches kept ready on the device

  config.preprocess = ConfigDict()
  config.preprocess.intensity = "range"  # range: [low, high] -> [-1, 1]; percentile: same, of the image; zscore
  config.preprocess.low = 0.0  # intensity, or percentile
  config.preprocess.high = 255.0  # intensity, or percentile

  config.augment = ConfigDict()  # maxima; each example draws its own; 0 is off
  config.augment.enabled = True  # False: examples are only cropped
  config.augment.flip = True  # left-right and up-down, each with probability 1/2
  config.augment.rotate_degrees = 15.0  # degrees
  config.augment.scale = 0.1  # relative: size times a factor in [1 / 1.1, 1.1]
  config.augment.elastic_alpha = 0.0  # pixels, standard deviation of the displacement
  config.augment.elastic_sigma = 8.0  # pixels, its smoothness
  config.augment.brightness = 0.1  # added; the prepared image spans about [-1, 1]
  config.augment.contrast = 0.1  # relative
  config.augment.gamma = 0.0  # exponent in [1 / (1 + gamma), 1 + gamma]
  config.augment.noise = 0.0  # standard deviation, on the prepared image

  config.model = ConfigDict()
  config.model.name = "unet"  # unet, resnet_fpn, resnet_unet; unet3d for volumes
  config.model.head = "softmax"  # softmax, coral, cumulative, corn, binomial, beta_binomial; sigmoid: binary losses
  config.model.encoder = "resnet18"  # resnet_*: resnet18, resnet34, resnet50
  config.model.encoder_weights = ""  # resnet_*: .safetensors or .pth state dict of torchvision or timm; '' is random
  config.model.width = 16  # channels of the finest level; doubled at each further one; resnet_fpn: 8 and 16 times it
  config.model.depth = 4  # unet, unet3d: levels of resolution
  config.model.flat_levels = 0  # unet3d: finest levels that treat slices apart, for slices farther apart than pixels
  config.model.blocks_per_level = 2  # unet, unet3d, resnet_unet: 3x3 convolutions per level, each way
  config.model.norm = "group"  # group, instance; unet also none; an encoder with weights has frozen batch norm
  config.model.dropout = 0.0  # probability, in [0, 1)
  config.model.dtype = "float32"  # of the computation: float32, bfloat16; parameters and logits are float32

  config.loss = ConfigDict()
  # rps_bce, rps_bce_dml, rps, nll, ranked_ignorance, squared_emd, sord, w1, sa_rps; any head: bce_majority, bce_soft,
  # bce_staple, bce_dice, bce_ml1_ace, dml, label_smoothing, svls, focal, mbls, nacl (docs/method.md, section 4)
  config.loss.name = "rps_bce"  # see above
  config.loss.alpha = 0.8  # rps_bce, rps_bce_dml: weight of the RPS, >= 0
  config.loss.divisor = "levels"  # rps, rps_bce, rps_bce_dml, w1, sa_rps: levels n + 1, thresholds n, none 1
  config.loss.binary_term = "majority"  # rps_bce, rps_bce_dml: read-out of the cross-entropy: majority, mean_vote
  config.loss.threshold_weights = ""  # ranked_ignorance: of "at least 1" .. "at least R": "1,2,2,1"; '' is all alike
  config.loss.dml_weight = 1.0  # rps_bce_dml: weight of the Dice term, >= 0
  config.loss.sord_scale = 1.0  # sord: decay per level of distance, >= 0
  config.loss.smoothing = 0.1  # label_smoothing: share taken from the label, in [0, 1]
  config.loss.gamma = 3.0  # focal: exponent, >= 0
  config.loss.svls_sigma = 1.0  # svls: of the 3 x 3 Gaussian, pixels
  config.loss.margin = 10.0  # mbls: of the logit, >= 0
  config.loss.penalty = 0.1  # mbls, nacl: its weight, >= 0
  config.loss.ace_weight = 1.0  # bce_ml1_ace: weight of the calibration error, >= 0
  config.loss.ace_bins = 20  # bce_ml1_ace: bins
  config.loss.dice_weight = 1.0  # bce_ml1_ace: weight of the Dice term, >= 0; 0 leaves it out

  config.optim = ConfigDict()
  config.optim.name = "adamw"  # adamw, sgd
  config.optim.learning_rate = 2e-3  # peak
  config.optim.schedule = "cosine"  # cosine, constant; both after a linear warm-up
  config.optim.warmup_steps = 50  # steps
  config.optim.final_lr_fraction = 0.0  # cosine: final over peak learning rate
  config.optim.weight_decay = 1e-4  # decoupled; not on biases and norm scales
  config.optim.b1 = 0.9  # adamw: decay of the first moment; sgd: momentum
  config.optim.b2 = 0.999  # adamw: decay of the second moment
  config.optim.clip_norm = 1.0  # global norm of the gradient; 0 is off
  config.optim.ema_decay = 0.0  # decay of the averaged weights used for evaluation; 0 is off

  config.train = ConfigDict()
  config.train.batch_size = 16  # examples per step over all devices and processes
  config.train.num_steps = 1000  # steps in all; a finished run may be lengthened
  config.train.log_every_steps = 20  # one line, one row of train_metrics.jsonl
  config.train.eval_every_steps = 250  # on the validation split
  config.train.checkpoint_every_steps = 250  # besides the one after each evaluation
  config.train.keep_last = 2  # checkpoints
  config.train.keep_best = 1  # further checkpoints, by best_metric
  config.train.best_metric = "read_outs.mean_vote.brier"  # a path in metrics.json
  config.train.best_mode = "min"  # min, max

  config.eval = ConfigDict()
  config.eval.batch_size = 16  # images of equal size at once, over the devices of one process
  config.eval.window = 0  # pixels: larger images are predicted in overlapping windows of this side; 0: whole
  config.eval.window_slices = 0  # the same for the slices of volumes; 0: all of them
  config.eval.overlap = 0.25  # share of a window that the next one covers again, in [0, 1)
  config.eval.num_bins = 15  # bins of the calibration errors, of equal width and of equal mass
  config.eval.roi = "image"  # pixels that count: image; union_dilated: roi_margin around what any rater marked
  config.eval.roi_margin = 16  # pixels, >= 1
  config.eval.surface = False  # distances between outlines (Hausdorff 95 %, surface Dice); slower than all the rest
  config.eval.surface_tolerance = 2.0  # of the surface Dice: mm where the spacing is known, else pixels

  config.parallel = ConfigDict()
  config.parallel.distributed = False  # True: initialise jax.distributed even where no cluster is detected
  config.parallel.connect_seconds = 300.0  # seconds to wait until all processes are there, in [1, 86400]
  config.parallel.heartbeat_seconds = 100.0  # without a sign of life, then a process counts as lost, in [10, 86400]

  return config
