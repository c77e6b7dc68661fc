#include "unet_gpt.h"

CADDIE_PLUGIN("1.0", caddie::model_component<unet_gpt::UnetGpt>(
                         "unet_gpt", "GPT with U-Net skips, grouped heads and exclusive self attention: the reference's model",
                         1, unet_gpt::option_specs()))
